// Package identity knows who may call: sessions, the policies that fill them in, and the keys under which they are
// stored. Authenticators ask it; it knows nothing of requests.
//
// A session is stored under a key id: the token itself, or its hash. Keys keeps sessions decoded in memory, policies
// applied, and forgets them when the store or the policies change. A lookup that hits takes no lock and allocates
// nothing.
//
// How much of a limit or quota is used is not in a session but in counters (package limit): the fields quota_remaining,
// quota_renews, allowance and last_check are for showing, and are dropped from what is written.
//
// No token, hash of a password or secret is in an error of this package. Key ids, which are hashes, are.
package identity
