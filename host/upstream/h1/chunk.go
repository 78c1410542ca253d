package h1

import (
	"bytes"
	"fmt"

	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// maxChunkLine bounds a chunk's size line with its extensions.
const maxChunkLine = 4 << 10

// chunkLine reads a chunk's size line (RFC 9112 §7.1) at the start of b. It returns the size and the line's length with
// its end, 0 when more is needed. Extensions are checked and dropped.
func chunkLine(b []byte) (size int64, n int, err error) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		if len(b) > maxChunkLine {
			return 0, 0, fmt.Errorf("chunk size line over %d bytes", maxChunkLine)
		}
		return 0, 0, nil
	}
	if end > maxChunkLine {
		return 0, 0, fmt.Errorf("chunk size line over %d bytes", maxChunkLine)
	}
	if end == 0 || b[end-1] != '\r' {
		return 0, 0, fmt.Errorf("chunk size line ends in a bare LF (RFC 9112 §7.1)")
	}
	line := b[:end-1]
	digits := 0
	for ; digits < len(line); digits++ {
		d, ok := sdk.HexDigit(line[digits])
		if !ok {
			break
		}
		if digits == 15 {
			return 0, 0, fmt.Errorf("chunk size %q is too large", clip(string(line)))
		}
		size = size<<4 | int64(d)
	}
	rest := bytes.TrimLeft(line[digits:], " \t")
	if digits == 0 || len(line) > digits && (len(rest) == 0 || rest[0] != ';') || !cleanBytes(rest) {
		return 0, 0, fmt.Errorf("chunk size line %q (RFC 9112 §7.1)", clip(string(line)))
	}
	return size, end + 1, nil
}

func cleanBytes(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// trailerSection reads the fields behind the last chunk (RFC 9112 §7.1.2) at the start of b, whose end s looks for. It
// returns the section's length, 0 when more is needed. Fields that a trailer may not hold are dropped.
func trailerSection(s *scan, b []byte, maxFields int) (h *sdk.Header, n int, err error) {
	if len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
		return nil, 2, nil
	}
	if n, err = s.find(b, maxFields); n == 0 || err != nil {
		return nil, 0, err
	}
	for rest := string(b[:n-2]); rest != ""; {
		end := 0
		for rest[end] != '\n' {
			end++
		}
		f, err := parseField(rest[:end-1])
		if err != nil {
			return nil, 0, err
		}
		rest = rest[end+1:]
		if outbound.TrailerAllowed(f.Name) {
			if h == nil {
				h = &sdk.Header{}
			}
			h.Append(f.Name, f.Value)
		}
	}
	return h, n, nil
}
