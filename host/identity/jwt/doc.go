// Package jwt authenticates callers by JSON Web Tokens (RFC 7519, signed in the compact form of RFC 7515): by keys that an
// API's definition holds, that a key set at a URL publishes (package jwks), or that each key in the store holds for its
// own tokens.
//
// The family of algorithms is the definition's. A token's own header chooses only within it, and only an algorithm that
// fits the type of the key; what it says of where keys are found (jku, jwk, x5u, x5c) is not read.
package jwt
