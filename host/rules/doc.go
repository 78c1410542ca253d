// Package rules is what a definition asks of a request without a plugin: versions, path lists, address lists, size
// limits, timeouts, header changes and CORS. Each rule is compiled once for a route or one of its versions and is
// immutable then: it is safe for concurrent use, and a nil pointer to any of them is the rule that asks for nothing.
//
// # Paths
//
// The path that rules compare is the request's without the listen path (see [TrimListenPath]), with its escapes as they
// came. Servers disagree about what a path means, and whoever wants to get past a list looks for a spelling that the
// gateway and the upstream read differently. So a path that could be read in several ways is compared in all of them:
//
//   - percent escapes decoded, once and again while there are any left (up to three times), and decoded with the
//     escaped slashes left as they are;
//   - a backslash as a slash;
//   - without parameters, as servlet containers strip them ("/a;x=1/b" is "/a/b"), and cut at a decoded "?" or "#";
//   - with "." and ".." segments resolved and doubled slashes joined, in either order, before and after decoding.
//
// A block list, or the smallest size limit, takes hold when any reading matches; an allow or ignore list only when
// every reading does. So a path with parameters has to be allowed without them too. Paths that nobody sends in earnest
// match every block and no allow: those that climb above the listen path with "..", hold control characters, are still
// escaped after three rounds, or are longer than 4 KiB and still ambiguous. Case counts unless a rule says otherwise.
// Of trailing dots and blanks, 8.3 names or overlong UTF-8, which some upstreams take for something else, nothing is
// known here.
package rules
