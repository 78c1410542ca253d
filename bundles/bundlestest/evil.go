package bundlestest

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

// A Case is a change of a zip and the reason for which it must be refused.
type Case struct {
	Name string
	// Change makes a good zip evil. Files come as the entries 0 to 2, an entry behind them if there is one belongs to
	// whoever runs the case.
	Change func(z *Zip)
	// Canonical and Open are the codes for archives of ours and of others; "" where the form accepts it.
	Canonical, Open refusal.Code
}

// Raw returns cases in which the zip itself is wrong.
func Raw() []Case {
	entry := func(change func(e Entry) Entry) func(z *Zip) {
		return func(z *Zip) { z.Entries[1] = change(z.Entries[1]) }
	}
	both := func(change func(h *Header)) func(z *Zip) { return entry(func(e Entry) Entry { return e.Both(change) }) }
	local := func(change func(h *Header)) func(z *Zip) {
		return entry(func(e Entry) Entry { return e.InLocal(change) })
	}
	central := func(change func(h *Header)) func(z *Zip) {
		return entry(func(e Entry) Entry { return e.InCentral(change) })
	}
	dir, gap, header, loc := refusal.ZipDirectory, refusal.ZipGap, refusal.ZipHeader, refusal.ZipLocal
	return []Case{
		{"encrypted", both(func(h *Header) { h.Flags |= 1 }), refusal.ZipEncrypted, refusal.ZipEncrypted},
		{"strongly encrypted", both(func(h *Header) { h.Flags |= 1 << 6 }), refusal.ZipEncrypted, refusal.ZipEncrypted},
		{"directory masked", both(func(h *Header) { h.Flags |= 1 << 13 }), refusal.ZipEncrypted, refusal.ZipEncrypted},
		{"patched data", both(func(h *Header) { h.Flags |= 1 << 5 }), header, header},
		{"unknown flag", both(func(h *Header) { h.Flags |= 1 << 15 }), header, header},
		{"flag in one header", local(func(h *Header) { h.Flags |= 2 }), header, loc},
		{"deflate64", both(func(h *Header) { h.Method = 9 }), refusal.ZipMethod, refusal.ZipMethod},
		{"lzma", both(func(h *Header) { h.Method = 14 }), refusal.ZipMethod, refusal.ZipMethod},
		{"two methods", local(func(h *Header) { h.Method = 0; h.Packed = h.Size }), gap, loc},
		{"version", both(func(h *Header) { h.Needed = 45 }), header, header},
		{"version in one header", local(func(h *Header) { h.Needed = 10 }), header, loc},
		{"made by", central(func(h *Header) { h.MadeBy = 3 << 8 }), dir, ""},
		{"date", both(func(h *Header) { h.Date = 0x5555 }), header, ""},
		{"date in one header", central(func(h *Header) { h.Date = 0x5555 }), dir, loc},
		{"time", both(func(h *Header) { h.Time = 1 }), header, ""},
		{"time in one header", local(func(h *Header) { h.Time = 1 }), header, loc},
		{"crc in local header", local(func(h *Header) { h.CRC32++ }), dir, loc},
		{"crc in both", both(func(h *Header) { h.CRC32++ }), refusal.ZipData, refusal.ZipData},
		{"size in local header", local(func(h *Header) { h.Size++ }), dir, loc},
		{"size in both", both(func(h *Header) { h.Size++ }), refusal.FileSize, refusal.ZipData},
		{"size short in both", both(func(h *Header) { h.Size-- }), refusal.FileSize, refusal.ZipData},
		{"packed size short", both(func(h *Header) { h.Packed-- }), gap, gap},
		{"packed size long", both(func(h *Header) { h.Packed++ }), gap, gap},
		{"packed size over all", both(func(h *Header) { h.Packed = 1 << 31 }), gap, gap},
		{"size of zip64", both(func(h *Header) { h.Size = 1<<32 - 1 }), refusal.LimitFile, refusal.LimitFile},
		{"bomb", both(func(h *Header) { h.Size = 100 << 20 }), refusal.LimitRatio, refusal.LimitRatio},
		{"huge", both(func(h *Header) { h.Size = 513 << 20 }), refusal.LimitFile, refusal.LimitFile},
		{"extra in local header", local(func(h *Header) { h.Extra = "\x55\x54\x01\x00\x00" }), refusal.ZipExtra, refusal.ZipExtra},
		{"extra in central header", central(func(h *Header) { h.Extra = "\x55\x54\x01\x00\x00" }), dir, refusal.ZipExtra},
		{"unicode path", both(func(h *Header) { h.Extra = "\x75\x70\x06\x00\x01....x" }), refusal.ZipExtra, refusal.ZipExtra},
		{"zip64 extra", both(func(h *Header) { h.Extra = "\x01\x00\x08\x00........" }), refusal.ZipExtra, refusal.ZipExtra},
		{"comment of an entry", central(func(h *Header) { h.Comment = "hello" }), dir, refusal.ZipComment},
		{"another disk", central(func(h *Header) { h.Disk = 1 }), dir, header},
		{"symbolic link", central(func(h *Header) { h.MadeBy = 3 << 8; h.External = 0o120777 << 16 }), dir, refusal.ZipSymlink},
		{"symbolic link of DOS", central(func(h *Header) { h.External = 0o120777 << 16 }), dir, refusal.ZipSymlink},
		{"device", central(func(h *Header) { h.MadeBy = 3 << 8; h.External = 0o020666 << 16 }), dir, refusal.ZipSymlink},
		{"pipe", central(func(h *Header) { h.MadeBy = 3 << 8; h.External = 0o010666 << 16 }), dir, refusal.ZipSymlink},
		{"file with a folder's mode", central(func(h *Header) { h.External = 0o040755 << 16 }), dir, refusal.ZipSymlink},
		{"file with a folder's attribute", central(func(h *Header) { h.External = 0x10 }), dir, header},
		{"volume label", central(func(h *Header) { h.External = 0x08 }), dir, header},
		{"volume label and archive", central(func(h *Header) { h.External = 0x28 }), dir, header},
		{"mode of a file", central(func(h *Header) { h.MadeBy = 3 << 8; h.External = 0o100644 << 16 }), dir, ""},
		{"local signature", local(func(h *Header) { h.Signature++ }), gap, loc},
		{"central signature", central(func(h *Header) { h.Signature++ }), dir, dir},
		{"name in local header", local(func(h *Header) { h.Name = strings.Repeat("x", len(h.Name)) }), dir, loc},
		{"longer name in local header", local(func(h *Header) { h.Name += "x" }), dir, loc},
		{"name in central header", central(func(h *Header) { h.Name = strings.Repeat("x", len(h.Name)) }), dir, loc},
		{"data before", func(z *Zip) { z.Entries[0].Before = []byte("#!/bin/sh\n") }, gap, gap},
		{"data before, offsets without it", func(z *Zip) {
			z.Entries[0].Before = []byte("MZ")
			z.Offsets = func(_ int, offset uint32) uint32 { return offset - 2 }
			z.End = func(end []byte) []byte { end[16] -= 2; return end }
		}, loc, dir},
		{"data between", func(z *Zip) { z.Entries[1].Before = []byte("x") }, gap, gap},
		{"data before the directory", func(z *Zip) { z.BeforeDirectory = []byte("x") }, dir, gap},
		{"data behind the directory", func(z *Zip) { z.AfterDirectory = []byte("x") }, dir, dir},
		{"trailing data", func(z *Zip) { z.Trailing = []byte("x") }, refusal.ZipTrailing, refusal.ZipTrailing},
		{"trailing newline", func(z *Zip) { z.Trailing = []byte("\n") }, refusal.ZipTrailing, refusal.ZipTrailing},
		{"comment", func(z *Zip) { z.End = func(b []byte) []byte { b[20] = 2; return append(b, "hi"...) } }, refusal.ZipComment, refusal.ZipComment},
		{"comment that is not there", func(z *Zip) { z.End = func(b []byte) []byte { b[20] = 2; return b } }, refusal.ZipTrailing, refusal.ZipTrailing},
		{"no end", func(z *Zip) { z.End = func([]byte) []byte { return nil } }, refusal.ZipTruncated, refusal.ZipTruncated},
		{"half an end", func(z *Zip) { z.End = func(b []byte) []byte { return b[:21] } }, refusal.ZipTruncated, refusal.ZipTruncated},
		{"two ends", func(z *Zip) { z.End = func(b []byte) []byte { return append(b, b...) } }, dir, dir},
		{"end on another disk", func(z *Zip) { z.End = func(b []byte) []byte { b[4] = 1; return b } }, header, header},
		{"directory on another disk", func(z *Zip) { z.End = func(b []byte) []byte { b[6] = 1; return b } }, header, header},
		{"entries on this disk", func(z *Zip) { z.End = func(b []byte) []byte { b[8]++; return b } }, header, header},
		{"count too low", func(z *Zip) { z.End = func(b []byte) []byte { b[8]--; b[10]--; return b } }, dir, dir},
		{"count too high", func(z *Zip) { z.End = func(b []byte) []byte { b[8]++; b[10]++; return b } }, dir, dir},
		{"count of zip64", func(z *Zip) {
			z.End = func(b []byte) []byte { b[8], b[9], b[10], b[11] = 255, 255, 255, 255; return b }
		}, refusal.ZipZip64, refusal.ZipZip64},
		{"directory's size", func(z *Zip) { z.End = func(b []byte) []byte { b[12]--; return b } }, dir, dir},
		{"directory's offset", func(z *Zip) { z.End = func(b []byte) []byte { b[16]--; return b } }, dir, dir},
		{"directory's offset of zip64", func(z *Zip) {
			z.End = func(b []byte) []byte { b[16], b[17], b[18], b[19] = 255, 255, 255, 255; return b }
		}, refusal.ZipZip64, refusal.ZipZip64},
		{"zip64 locator", func(z *Zip) { z.AfterDirectory = append([]byte("PK\x06\x07"), make([]byte, 16)...) }, refusal.ZipZip64, refusal.ZipZip64},
		{"order of the directory", func(z *Zip) {
			z.Order = []int{1, 0}
			for i := 2; i < len(z.Entries); i++ {
				z.Order = append(z.Order, i)
			}
		}, dir, gap},
		{"entry left out of the directory", func(z *Zip) {
			z.Order = []int{0}
			for i := 2; i < len(z.Entries); i++ {
				z.Order = append(z.Order, i)
			}
		}, dir, gap},
		{"entry twice in the directory", func(z *Zip) {
			z.Order = []int{0, 1, 1}
			for i := 2; i < len(z.Entries); i++ {
				z.Order = append(z.Order, i)
			}
		}, dir, gap},
		{"two records, one entry", func(z *Zip) {
			first := uint32(0)
			z.Offsets = func(i int, offset uint32) uint32 {
				if i == 0 {
					first = offset
				}
				if i == 1 {
					return first
				}
				return offset
			}
		}, dir, gap},
		{"offset before the file", central(func(h *Header) { h.Offset = 1<<32 - 10 }), dir, gap},
		{"stored with a descriptor", func(z *Zip) {
			e := Stored(z.Entries[1].Central.Name, "content").Both(func(h *Header) { h.Flags |= 8 })
			z.Entries[1] = e.describe()
		}, refusal.ZipDescriptor, refusal.ZipDescriptor},
		{"stream cut short", entry(func(e Entry) Entry {
			e.Data = e.Data[:len(e.Data)-1]
			return e.Both(func(h *Header) { h.Packed = uint32(len(e.Data)) }).redescribe()
		}), refusal.ZipData, refusal.ZipData},
		{"data behind the stream", entry(func(e Entry) Entry {
			e.Data = append(e.Data[:len(e.Data):len(e.Data)], 0)
			return e.Both(func(h *Header) { h.Packed = uint32(len(e.Data)) }).redescribe()
		}), refusal.ZipData, refusal.ZipData},
		{"garbage for a stream", entry(func(e Entry) Entry {
			e.Data = []byte(strings.Repeat("\xff", len(e.Data)))
			return e
		}), refusal.ZipData, refusal.ZipData},
		{"stacked archives", func(z *Zip) { z.Entries[0].Before = Zip{Entries: []Entry{Stored("x", "y")}}.Bytes() }, gap, gap},
	}
}

// redescribe renews the descriptor after a change, where there is one.
func (e Entry) redescribe() Entry {
	if e.Descriptor == nil {
		return e
	}
	e.Local.CRC32, e.Local.Packed, e.Local.Size = 0, 0, 0
	return e.describe()
}

// Names returns names that no file of a bundle may have. Those that begin with "open " in their key are refused in
// archives of ours only.
func Names() map[string]string {
	return map[string]string{
		"empty": "", "absolute": "/etc/passwd", "parent": "../x", "parent inside": "a/../../x", "parent at the end": "a/..",
		"dot": ".", "dot inside": "a/./b", "two slashes": "a//b", "backslash": `a\b`, "parent with backslash": `..\x`,
		"drive": "C:x", "stream": "a:b", "NUL": "a\x00b", "newline": "a\nb", "delete": "a\x7fb", "escape": "a\x1b[2Jb",
		"not UTF-8": "a\xffb", "star": "a*", "question mark": "a?", "pipe": "a|b", "angle": "a<b", "quote": `a"b`,
		"dot at the end": "a.", "dots at the end": "a...", "blank at the end": "a ", "blank at the start": " a",
		"device": "con", "device with suffix": "NUL.txt", "numbered device": "dir/COM1.lua", "superscript device": "com¹",
		"console": "CONIN$", "long": strings.Repeat("a", 241), "deep": strings.Repeat("a/", 16) + "b",
		"right to left": "a\u202eb", "zero width": "a\u200bb", "line separator": "a\u2028b", "combining": "e\u0301",
		"jamo": "\u1100\u1161", "replacement": "a\ufffdb", "C1": "a\u0085b",
		"version of VMS": "a.js;1", "folder of VMS": "a;12/b.js", "empty version of VMS": "a.js;",
		"Hangul filler": "a\u3164b", "halfwidth filler": "a\uffa0b", "Braille blank": "a\u2800b", "no-break space": "a\u00a0b",
		"wide space": "a\u3000b", "compatibility ideograph": "\uf900.js", "angstrom sign": "\u212b.js", "ligature": "\ufb01le.js",
		"Greek question mark": "a\u037e.js", "Jamo extended": "\ua960.js",
		"open blank": "a b", "open letters": "émile.js", "open brackets": "a(1).js", "open semicolon": "a;b.js",
	}
}

// SHA256 is the digest of text in hex.
func SHA256(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
