// Package archive reads and writes the zip files of bundles (PKWARE APPNOTE 6.3.10), bounded and with one reading.
//
// Two forms are known. The canonical form is what Build of package bundles writes: no byte of it is free, so the
// central directory is computed anew and compared, and the signed envelope is found without understanding anything
// else (Tail). The open form is what others pack, tyk bundle build above all: Scan accepts what every zip reader
// understands alike, and nothing else.
//
// Archives are byte slices that nobody else can change. Entries share their memory.
package archive

// Limits bound an archive. All are inclusive.
type Limits struct {
	Archive  int64 // bytes of the zip file
	File     int64 // bytes of one file, unpacked
	Total    int64 // bytes of all files, unpacked
	Files    int   // entries, the envelope counted
	Ratio    int64 // unpacked to packed, for what is larger than RatioFrom
	Envelope int64 // bytes of the signed envelope
}

// RatioFrom is the size from which Limits.Ratio holds: small files may be as repetitive as they like.
const RatioFrom = 1 << 20

// DefaultLimits are 256 MiB packed, 512 MiB a file, 1 GiB unpacked, 4096 files, 200:1, envelopes of 1 MiB.
func DefaultLimits() Limits {
	return Limits{Archive: 256 << 20, File: 512 << 20, Total: 1 << 30, Files: 4096, Ratio: 200, Envelope: 1 << 20}
}

// A File is a file to pack.
type File struct {
	Name    string
	Content []byte
}

// An Entry is a file in an archive, as its headers describe it.
type Entry struct {
	Name   string
	Method uint16 // Stored or Deflated
	CRC32  uint32
	Size   int64 // unpacked
	Dir    bool  // an entry for a folder, only in the open form

	packed []byte
}

// Methods of compression.
const (
	Stored   uint16 = 0
	Deflated uint16 = 8
)
