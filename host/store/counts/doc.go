// Package counts keeps how much was used of what, in memory and in a file of this process: numbers that change with every
// request, a few bytes each, of which an owner has some.
//
// A change is added to the end of the file, many together, and is on disk (fdatasync) when Save returns; so a process
// that is killed loses no change that was acknowledged, and one that is not being written is there as a whole or not at
// all. When the file has grown to more than twice what it has to hold, it is written anew beside its place and
// renamed. Nothing is read from it but at Open: all counts are in memory, about 70 bytes each, without a pointer.
//
// Names are kept as 64 bits of their SHA-256: the file does not say who they belong to.
//
// # The file
//
// Eight bytes "tbcount1"; then blocks: the length of what follows the head, its CRC-32C (both big-endian, 32 bits), and
// counts. A count is its name (8 bytes of the owner's, 8 of the scope's), and as varints how much is used, when it begun
// and when it ends, in milliseconds since 1970, the end 0 for never. A later one replaces an earlier one, and one of
// which nothing is used removes it. A block is written at a time and synced before the next: what cannot be read at the
// end of the file is one that was being written, everywhere else the file is damaged.
package counts
