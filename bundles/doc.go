// Package bundles builds, signs and verifies bundles: plugin folders packed into one file that is loaded only if
// somebody the gateway trusts vouches for every byte of it. FORMAT.md describes the files.
//
// Build packs a folder, Sign signs the archive, and a Verifier turns an archive into a Bundle, whose files are read
// from the very bytes that were verified: nothing here takes a path a second time. Verify decides and changes
// nothing, so a dry run is a Verify by another policy; Accept records what is about to run, so that it cannot go back
// later. Adopt vouches for a bundle of Tyk as it is.
//
// Every refusal is a *refusal.Error with a stable code.
package bundles
