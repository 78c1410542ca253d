// Package store is the seam to what outlives a request: sessions, policies, organisations' sessions, API documents, and
// what scripts and plugins keep. Entries are bytes under flat string keys, the kind first ("key/3f2a…", "policy/gold"),
// each with an end or without. Package bolt keeps them in a file of this process, package redis in a Redis or Valkey
// that several gateways share; package storetest is the suite that both pass.
//
// # What is promised
//
// A write that returned nil is kept: by bolt on disk, by Redis as its own settings say (appendfsync, replicas). A write
// that returned an error may still have taken effect when the error is ErrUnavailable or a context's; every other
// error means that nothing changed. A Get that begins after a write returned sees it, on this gateway; on others within
// 1 s.
//
// An entry is not returned once its end has come, whether or not it has been removed. What "now" is, the wall clock
// says at the moment of the read. A clock that goes back can show an entry again that had ended and was not yet removed,
// until its end comes again; it ends nothing early and stops nothing.
//
// # Caching what was decoded
//
// Watch tells what changed, before the write returns on this gateway. A cache that forgets what it is told to forget
// has one trap: a read that began before the change may be stored after it. So note in the cache that a read is under
// way before calling Get, let a Change void that note, and keep the result only under a note that still stands. Entries
// end without a Change; keep Expires with what was decoded.
//
// All of it is safe for concurrent use.
package store
