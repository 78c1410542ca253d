// Package jwks keeps JSON Web Key Sets (RFC 7517) at hand: it fetches each once for all who use it, again when it has
// been kept as long as its users want, and earlier when a key id turns up that it does not know, within bounds that no
// client can break. A set serves on while its endpoint is down or slow.
package jwks
