// Package gatewaytest runs the gateway's program, as a user would, around the example plugin servers that are written in
// other languages: it builds the gateway, prepares an interpreter with the packages an example pins, starts processes
// on free ports, plays the upstream, and sends requests.
//
// What it installs lies in a cache folder outside the tree, [os.UserCacheDir]/turnbuckle-test, one folder for each set of
// pinned packages. A test whose toolchain or registry is absent is skipped and says what was missing: no Go developer
// needs Python or Node.
package gatewaytest
