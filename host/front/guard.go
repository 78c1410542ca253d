package front

import (
	"bytes"
	"errors"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// guard reads along on an HTTP/1 connection and finds requests whose length can be understood in two ways, which is
// what request smuggling lives on (RFC 9112 §6.3, §11.2):
//
//   - Transfer-Encoding together with Content-Length,
//   - Transfer-Encoding in an HTTP/1.0 request,
//   - Transfer-Encoding whose last coding is not chunked, or that names chunked twice,
//   - a Content-Length that is no number, or several that differ,
//   - a line folded into a second one (RFC 9112 §5.2): where a folded Transfer-Encoding ends is a matter of taste.
//
// net/http accepts the first two, answers 501 to the third, and shows none of it to a handler. The guard does not
// judge the rest of the syntax: what net/http refuses never gets as far as being ambiguous. To know where a header
// block begins it follows the framing of bodies too; their bytes are counted, not looked at.
//
// It is made to cost next to nothing: header blocks are hopped through by line feeds, and of each line only the first
// byte is looked at unless it is a T, a C or a blank.
type guard struct {
	state guardState
	first bool  // nothing has been read, and an HTTP/2 preface may come
	old   bool  // the request line ends in a version below 1.1
	left  int64 // bytes of body, or of chunk with its CRLF, still to come

	te      string // Transfer-Encoding, its field lines joined by commas
	length  int64  // Content-Length
	hasTE   bool
	hasCL   bool
	partial []byte // a line whose end has not come yet
	most    int    // bytes that are kept of it
}

type guardState uint8

const (
	guardRequestLine guardState = iota
	guardFields
	guardBody
	guardChunkSize
	guardChunkData
	guardTrailers
	guardOff // no longer HTTP/1
)

// body reports whether part of a body is still to come.
func (g *guard) body() bool { return g.state >= guardBody && g.state < guardOff }

// Why a request was refused.
var (
	errBothLengths = errors.New("request with both Transfer-Encoding and Content-Length (RFC 9112 §6.1)")
	errOldChunked  = errors.New("HTTP/1.0 request with Transfer-Encoding (RFC 9112 §6.1)")
	errNotChunked  = errors.New("request whose last transfer coding is not chunked (RFC 9112 §6.3)")
	errLength      = errors.New("request with an invalid Content-Length (RFC 9112 §6.3)")
	errFolded      = errors.New("request with a folded field line (RFC 9112 §5.2)")
	errChunkSize   = errors.New("chunk with an invalid size (RFC 9112 §7.1)")
	errLongLine    = errors.New("line longer than a whole header may be")
)

// guardSlack is how much more than a header may have the guard keeps of a line that arrives in pieces: net/http, which
// grants 4 KiB more than asked for and reads as much ahead, has given up on the header before.
const guardSlack = 16 << 10

const prefaceLine = "PRI * HTTP/2.0\r\n"

// check takes the next bytes of the connection. With an error, the first n bytes may be passed on: they are short of
// completing the request that is refused, by at least one byte of p.
func (g *guard) check(p []byte) (n int, err error) {
	for i := 0; i < len(p); {
		switch g.state {
		case guardOff:
			return len(p), nil
		case guardBody, guardChunkData:
			skip := int64(len(p) - i)
			if skip > g.left {
				skip = g.left
			}
			g.left -= skip
			i += int(skip)
			if g.left == 0 {
				g.bodyDone()
			}
			continue
		}
		end := bytes.IndexByte(p[i:], '\n')
		if end < 0 {
			if len(g.partial)+len(p)-i > g.most {
				return i, errLongLine
			}
			g.partial = append(g.partial, p[i:]...)
			break
		}
		line := p[i : i+end+1]
		if len(g.partial) > 0 {
			g.partial = append(g.partial, line...)
			line = g.partial
		}
		if err := g.line(line); err != nil {
			return i, err
		}
		if g.partial = g.partial[:0]; cap(g.partial) > 4<<10 {
			g.partial = nil
		}
		i += end + 1
	}
	return len(p), nil
}

func (g *guard) bodyDone() {
	if g.state == guardChunkData {
		g.state = guardChunkSize
	} else {
		g.state = guardRequestLine
	}
}

// line takes a whole line with its line feed.
func (g *guard) line(line []byte) error {
	switch g.state {
	case guardRequestLine:
		g.requestLine(line)
	case guardFields:
		// The fast path: what does not begin with one of these concerns nobody here.
		switch line[0] {
		case 'T', 't', 'C', 'c', ' ', '\t', '\r', '\n':
			return g.field(line)
		}
	case guardChunkSize:
		return g.chunkSize(line)
	case guardTrailers:
		if blank(line) {
			g.state = guardRequestLine
		}
	}
	return nil
}

func (g *guard) requestLine(line []byte) {
	if blank(line) { // a server ignores empty lines before a request (RFC 9112 §2.2)
		return
	}
	if g.first && string(line) == prefaceLine {
		g.state = guardOff
		return
	}
	g.first = false
	g.state = guardFields
	version := bytes.TrimRight(line, "\r\n")
	g.old = string(version[max(0, len(version)-3):]) < "1.1"
	g.te, g.length, g.hasTE, g.hasCL = "", 0, false, false
}

func (g *guard) field(line []byte) error {
	if blank(line) {
		return g.headerDone()
	}
	switch line[0] {
	case ' ', '\t':
		return errFolded
	case 'T', 't':
		if v, ok := fieldValue(line, "Transfer-Encoding"); ok {
			if g.hasTE {
				g.te += ","
			}
			g.te += string(v)
			g.hasTE = true
		}
	case 'C', 'c':
		if v, ok := fieldValue(line, "Content-Length"); ok {
			n, ok := parseSize(v, 10)
			if !ok || g.hasCL && n != g.length {
				return errLength
			}
			g.length, g.hasCL = n, true
		}
	}
	return nil
}

// headerDone judges the header block that ends here.
func (g *guard) headerDone() error {
	switch {
	case g.hasTE && g.hasCL:
		return errBothLengths
	case g.hasTE && g.old:
		return errOldChunked
	case g.hasTE:
		if !endsInChunked(g.te) {
			return errNotChunked
		}
		g.state = guardChunkSize
	case g.hasCL:
		g.state, g.left = guardBody, g.length
		if g.left == 0 {
			g.state = guardRequestLine
		}
	default:
		g.state = guardRequestLine
	}
	return nil
}

func (g *guard) chunkSize(line []byte) error {
	size, _, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(";"))
	n, ok := parseSize(bytes.Trim(size, " \t"), 16)
	if !ok {
		return errChunkSize
	}
	if n == 0 {
		g.state = guardTrailers
		return nil
	}
	g.state, g.left = guardChunkData, n+2
	return nil
}

func blank(line []byte) bool {
	return line[0] == '\n' || len(line) == 2 && line[0] == '\r'
}

// fieldValue returns the value when the field line has that name. A blank before the colon is taken for part of the
// delimiter: net/http refuses it, so nothing depends on it.
func fieldValue(line []byte, name string) ([]byte, bool) {
	if len(line) <= len(name) || !sdk.EqualFold(string(line[:len(name)]), name) {
		return nil, false
	}
	rest := bytes.TrimLeft(line[len(name):], " \t")
	if len(rest) == 0 || rest[0] != ':' {
		return nil, false
	}
	return bytes.Trim(rest[1:], " \t\r\n"), true
}

// endsInChunked reports whether chunked is the last of the codings and named once.
func endsInChunked(te string) bool {
	before, last := "", te
	if comma := strings.LastIndexByte(te, ','); comma >= 0 {
		before, last = te[:comma], te[comma+1:]
	}
	if !sdk.EqualFold(strings.Trim(last, " \t"), "chunked") {
		return false
	}
	for coding := range strings.SplitSeq(before, ",") {
		if sdk.EqualFold(strings.Trim(coding, " \t"), "chunked") {
			return false
		}
	}
	return true
}

// parseSize reads digits of a base, nothing else, up to 2⁶².
func parseSize(s []byte, base int64) (int64, bool) {
	if len(s) == 0 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		d := int64(s[i])
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			d -= '0'
		case base == 16 && 'a' <= c|0x20 && c|0x20 <= 'f':
			d = int64(c|0x20) - 'a' + 10
		default:
			return 0, false
		}
		if n > (1<<62)/base {
			return 0, false
		}
		n = n*base + d
	}
	return n, true
}
