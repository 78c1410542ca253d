// Package bolt keeps a store in one file of this process, with bbolt (go.etcd.io/bbolt).
//
// Writes queue for one goroutine that commits what has gathered as one transaction, and return when it is on disk
// (fdatasync). Reads take no lock: each processor keeps a read transaction of its own and gives it up when there is a
// newer state, so that a Get is a walk down a B+tree in mapped memory and one copy. The file is mapped, not held: what
// is read often lies in the operating system's cache, and beside it the store holds the list of free pages only.
//
// Ended entries are hidden at once and removed in the background, a bounded number at a time. The file does not shrink;
// freed pages are used again.
//
// How much was used of what is kept apart from entries, by package counts in a file beside it.
package bolt
