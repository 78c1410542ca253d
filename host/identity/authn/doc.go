// Package authn holds the built-in methods of authentication but JWT: tokens, basic authentication, signatures of the
// request's header, and client certificates; besides, what all methods share: where credentials are found, how they are
// taken off a request, and the extractor of ids for auth hooks.
//
// # What a refusal gives away
//
// A refusal is an *sdk.Error: its Message is for the client, its Err for the log, and neither holds a token, password,
// secret, signature or what else the client sent as a credential. A key that is not known and a secret that is wrong are
// refused with the same status and text, after the same work: a password is hashed for an unknown user too, a signature
// computed for an unknown key. Secrets are compared in constant time.
//
// What the client chooses never decides how it is judged: algorithms come from the definition and from what the session
// holds. A credential that is there twice with different values is refused, since another party may have read the
// other one.
//
// Every other error is a failure: of the store (store.ErrUnavailable), of the context, or of the host's wiring.
package authn
