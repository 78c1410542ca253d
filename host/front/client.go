package front

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// client is the client's side of a flow, written through net/http (see [flow.Client]).
type client struct {
	flow     *flow.Flow
	body     *body
	w        http.ResponseWriter
	one      bool // HTTP/1
	head     bool // a HEAD request
	old      bool // HTTP/1.0: knows no interim replies
	wrote    bool // the reply has begun
	mute     bool // the reply has no body, whatever is written
	hijacked bool
	conn     *conn // once hijacked
	socket   *socket
	values   []string // what the response header's values are slices of until net/http has copied them
	names    []spelling
}

// spelling is a field name that is not in its canonical spelling, and that.
type spelling struct{ sent, canonical string }

// knownNames is how many of them a client keeps: replies of an API have the same again and again.
const knownNames = 4

func (c *client) begin(w http.ResponseWriter, r *http.Request) {
	c.w, c.head, c.one = w, r.Method == http.MethodHead, r.ProtoMajor == 1
	c.old = c.one && r.ProtoMinor == 0
}

func (c *client) end() {
	clear(c.values)
	*c = client{flow: c.flow, body: c.body, values: c.values[:0], names: c.names}
}

// WriteHeader begins the reply. Field names are written in their canonical spelling; a Date that is missing is added
// (RFC 9110 §6.6.1), a missing Content-Type is left missing.
func (c *client) WriteHeader(status int, h *sdk.Header, length int64) {
	if status < 200 || status > 999 {
		status = http.StatusBadGateway // what no reply can carry
	}
	c.wrote = true
	c.mute = c.head || status == http.StatusNoContent || status == http.StatusNotModified
	to := c.w.Header()
	c.fill(to, h)
	if _, ok := to["Content-Type"]; !ok && !c.mute {
		to["Content-Type"] = nil // or net/http guesses one
	}
	if length > 0 || length == 0 && status != http.StatusNoContent && status != http.StatusNotModified {
		to["Content-Length"] = append(c.slab(1), lengthText(h, length))
	}
	if c.socket.front.leaving.Load() {
		to["Connection"] = []string{"close"} // in HTTP/2, net/http makes a GOAWAY of it (RFC 9113 §6.8)
	}
	if c.body.wanted() {
		c.overtake(to)
	}
	c.w.WriteHeader(status) // and net/http has copied the header
}

// overtake lets an HTTP/1 reply begin while the request's body is still being read, as it may on HTTP/2: an upstream's
// early reply reaches the client while it is still sending. net/http would first read up to 256 KiB more of the body,
// which it still does for a body that nobody began to read. The connection ends with the reply: net/http does not
// notice when what it skips of such a body is malformed, and would take the next request from the middle of it.
func (c *client) overtake(to http.Header) {
	d, ok := c.w.(interface{ EnableFullDuplex() error })
	if !ok || !c.one {
		return
	}
	to["Connection"] = []string{"close"}
	_ = d.EnableFullDuplex() // fails for writers that are not net/http's own alone
}

// fill puts field lines into a header map: one slice of all values, cut into pieces.
func (c *client) fill(to http.Header, h *sdk.Header) {
	fields := h.Fields()
	c.slab(len(fields) + 1)
	for i := range fields {
		name := c.canonical(fields[i].Name)
		switch name {
		case "Content-Length", "Transfer-Encoding":
			continue
		}
		if i > 0 && repeats(fields, i) {
			to[name] = append(to[name], fields[i].Value)
			continue
		}
		to[name] = append(c.slab(1), fields[i].Value)
	}
}

// canonical is a field name in its canonical spelling. What net/http has to spell it makes anew each time.
func (c *client) canonical(name string) string {
	for i := range c.names {
		if c.names[i].sent == name {
			return c.names[i].canonical
		}
	}
	canonical := http.CanonicalHeaderKey(name)
	if canonical != name && len(c.names) < knownNames {
		c.names = append(c.names, spelling{strings.Clone(name), canonical}) // name may be a part of a whole header
	}
	return canonical
}

// repeats reports whether field i may have the name of an earlier one: comparing lengths is cheaper than the map.
func repeats(fields []sdk.Field, i int) bool {
	if i > 16 {
		return true
	}
	for j := range i {
		if sdk.EqualFold(fields[j].Name, fields[i].Name) {
			return true
		}
	}
	return false
}

// slab returns an empty slice with room for n values that nobody else has.
func (c *client) slab(n int) []string {
	if cap(c.values)-len(c.values) < n {
		c.values = make([]string, 0, max(n, 16))
	}
	at := len(c.values)
	if n == 1 {
		c.values = c.values[:at+1]
	}
	return c.values[at : at : at+n]
}

// lengthText spells length, as the header does if it says the same.
func lengthText(h *sdk.Header, length int64) string {
	var digits [20]byte
	text := strconv.AppendInt(digits[:0], length, 10)
	if s, ok := h.Lookup("Content-Length"); ok && s == string(text) {
		return s
	}
	return string(text)
}

// WriteInfo sends an interim reply, to clients that know such replies.
func (c *client) WriteInfo(status int, h *sdk.Header) error {
	if c.old || status < 100 || status > 199 || status == http.StatusSwitchingProtocols {
		return nil
	}
	to := c.w.Header()
	c.fill(to, h)
	c.w.WriteHeader(status)
	clear(to)
	return nil
}

// Write sends body bytes. What a reply without body is given is dropped.
func (c *client) Write(p []byte) (int, error) {
	c.wrote = true
	if c.mute {
		return len(p), nil
	}
	n, err := c.w.Write(p)
	c.flow.BytesOut += int64(n)
	return n, err
}

// Flush sends what is buffered.
func (c *client) Flush() error {
	c.wrote = true
	if f, ok := c.w.(interface{ FlushError() error }); ok {
		return f.FlushError()
	}
	return http.ErrNotSupported
}

// WriteTrailer sends trailer fields. They need not have been announced, but on HTTP/1 they can only follow a body of no
// declared length, and HTTP/1.0 has none.
func (c *client) WriteTrailer(h *sdk.Header) {
	if h == nil || h.Len() == 0 || c.head || c.old {
		return
	}
	_ = c.Flush() // or net/http sees the whole body and declares its length, which leaves no place for trailers
	to := c.w.Header()
	for _, f := range h.Fields() {
		name := http.TrailerPrefix + http.CanonicalHeaderKey(f.Name)
		to[name] = append(to[name], f.Value)
	}
}

// Cut ends the connection, of HTTP/2 the stream (see [flow.Cutter]).
func (c *client) Cut() {
	if c.one {
		_ = c.socket.Close()
		return
	}
	c.endReading()
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Unix(1, 0))
}

// endReading makes a read of the body fail, whichever goroutine it waits on. Errors come from writers that are not
// net/http's own, which wait for nothing.
func (c *client) endReading() { _ = http.NewResponseController(c.w).SetReadDeadline(time.Unix(1, 0)) }

var (
	_ flow.Informer = (*client)(nil)
	_ flow.Cutter   = (*client)(nil)
)
