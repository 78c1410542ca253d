// Package correlation is the plugin that gives requests an id, or takes theirs, and hands it on. README.md beside it is
// its manual.
package correlation

import (
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

//go:embed plugin.yaml
var manifest string

// Manifest returns plugin.yaml, which describes the plugin.
func Manifest() string { return manifest }

// Check reports what is wrong with a configuration.
func Check(config json.RawMessage) error {
	_, err := compile(config)
	return err
}

var _ sdk.Factory = New

// New makes the plugin. Its hook Correlate runs in the phase pre.
func New(_ context.Context, config json.RawMessage, _ sdk.Host) (*sdk.Plugin, error) {
	c, err := compile(config)
	if err != nil {
		return nil, err
	}
	return &sdk.Plugin{
		Name: "correlation", Version: "1.0.0",
		Hooks: []sdk.HookSpec{{
			Name: "Correlate", Phase: sdk.Pre, Hook: c,
			Needs: sdk.Needs{Fields: sdk.NeedHeaders, HeaderNames: []string{c.s.Header, baggage}},
		}},
	}, nil
}

// settings are the plugin's configuration; README.md says what each means.
type settings struct {
	Header   string   `json:"header"` // default X-Request-ID
	Format   string   `json:"format"` // uuidv7 (the default) or ulid
	Trust    string   `json:"trust"`  // none (the default), all or listed
	Trusted  []string `json:"trusted"`
	Upstream *bool    `json:"upstream"` // default true
	Response *bool    `json:"response"` // default true
	Baggage  *bool    `json:"baggage"`  // default true
}

const (
	formatUUID = "uuidv7"
	formatULID = "ulid"

	trustNone   = "none"
	trustAll    = "all"
	trustListed = "listed"
)

// correlate is the hook. It is immutable.
type correlate struct {
	s       settings
	trusted []netip.Prefix
}

func compile(config json.RawMessage) (*correlate, error) {
	c := &correlate{}
	if err := ship.Decode(config, &c.s); err != nil {
		return nil, fmt.Errorf("correlation: %w", err)
	}
	s := &c.s
	ship.Default(&s.Header, "X-Request-ID")
	ship.Default(&s.Format, formatUUID)
	ship.Default(&s.Trust, trustNone)
	on := true
	for _, flag := range []**bool{&s.Upstream, &s.Response, &s.Baggage} {
		if *flag == nil {
			*flag = &on
		}
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("correlation: %w", err)
	}
	return c, nil
}

func (c *correlate) check() error {
	s := &c.s
	switch {
	case !sdk.ValidToken(s.Header):
		return fmt.Errorf("header: %q is no name of a header", s.Header)
	case slices.Contains(taken(), strings.ToLower(s.Header)):
		return fmt.Errorf("header: %s says something else", s.Header)
	case s.Format != formatUUID && s.Format != formatULID:
		return fmt.Errorf("format: %q: uuidv7 or ulid", s.Format)
	case s.Trust != trustNone && s.Trust != trustAll && s.Trust != trustListed:
		return fmt.Errorf("trust: %q: none, all or listed", s.Trust)
	case (s.Trust == trustListed) != (len(s.Trusted) > 0):
		return fmt.Errorf("trusted: the clients whose ids are taken are given with trust: listed, and with nothing else")
	}
	for _, text := range s.Trusted {
		p, err := ship.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("trusted: %w", err)
		}
		c.trusted = append(c.trusted, p)
	}
	return nil
}

// taken are headers in which no id may stand: they say how a message is to be read, or who sends it.
func taken() []string {
	return []string{
		"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "content-type", "content-encoding",
		"authorization", "proxy-authorization", "cookie", "set-cookie", "baggage", "traceparent", "tracestate", "location",
	}
}

// Handle implements sdk.Hook.
func (c *correlate) Handle(_ context.Context, x *sdk.Exchange) error {
	header := x.Request().Header()
	id, came := header.Lookup(c.s.Header)
	id = strings.TrimSpace(id)
	entry := "" // of the baggage
	accepted := came && c.trusts(x.ClientAddr().Addr().Unmap()) && sdk.ValidRequestID(id)
	switch {
	case accepted:
		x.Count("accepted", 1)
		if *c.s.Baggage {
			entry = member + "=" + id
		}
	case came:
		x.Count("replaced", 1)
		fallthrough
	default:
		entry = c.create()
		id = entry[len(member)+1:]
	}
	said := sdk.Correlation{ID: id}
	if *c.s.Response {
		said.Reply = c.s.Header
	}
	if err := x.Correlate(said); err != nil {
		return fmt.Errorf("correlation: %w", err)
	}
	switch {
	case *c.s.Upstream:
		header.Set(c.s.Header, id)
	case came:
		header.Del(c.s.Header)
	}
	if *c.s.Baggage {
		carry(header, entry)
	}
	return nil
}

func (c *correlate) trusts(client netip.Addr) bool {
	switch c.s.Trust {
	case trustAll:
		return true
	case trustListed:
		for _, p := range c.trusted {
			if p.Contains(client) {
				return true
			}
		}
	}
	return false
}

// create makes an id that sorts by time, with its name in the baggage before it: one piece of memory for both.
func (c *correlate) create() string {
	var memory [len(member) + 1 + uuidLen]byte
	entry := append(memory[:0], member+"="...)
	if c.s.Format == formatULID {
		entry = appendULID(entry, time.Now())
	} else {
		entry = appendUUID(entry, time.Now())
	}
	return string(entry)
}

const uuidLen = 36

// appendUUID writes a UUID of version 7 (RFC 9562 §5.7): 48 bits of milliseconds, 12 of what is beyond them (§6.2, method
// 3), and 62 of chance. Chance is the generator of package math/rand/v2, ChaCha8 with a seed of the system's: ids are to
// be different, no secrets, and it costs a tenth of a system call.
func appendUUID(b []byte, now time.Time) []byte {
	const perMilli = uint64(time.Millisecond)
	millis, beyond := uint64(now.UnixMilli()), uint64(now.Nanosecond())%perMilli
	var u [16]byte
	binary.BigEndian.PutUint64(u[:], millis<<16|7<<12|beyond<<12/perMilli)
	binary.BigEndian.PutUint64(u[8:], rand.Uint64()>>2|1<<63)
	at := 0
	for _, end := range []int{4, 6, 8, 10, 16} {
		if at > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, u[at:end])
		at = end
	}
	return b
}

// appendULID writes a ULID.
func appendULID(b []byte, now time.Time) []byte {
	var u ulid.ULID
	_ = u.SetTime(ulid.Timestamp(now)) // which has room until the year 10889
	binary.BigEndian.PutUint16(u[6:], uint16(rand.Uint32()))
	binary.BigEndian.PutUint64(u[8:], rand.Uint64())
	at := len(b)
	b = append(b, make([]byte, ulid.EncodedSize)...)
	_ = u.MarshalTextTo(b[at:]) // which has the size
	return b
}

const (
	baggage = "Baggage"
	member  = "request-id"
	// maxBaggage is what everybody has to hand on (W3C Baggage §3.3.2).
	maxBaggage = 8192
)

// carry puts our entry into the baggage of the trace (W3C Baggage §3.3), in place of one that is there.
func carry(header *sdk.Header, ours string) {
	if !header.Has(baggage) {
		header.Set(baggage, ours)
		return
	}
	kept := []string{ours}
	size := len(ours)
	for _, line := range header.Values(baggage) {
		for one := range strings.SplitSeq(line, ",") {
			key, _, _ := strings.Cut(one, "=")
			one = strings.TrimSpace(one)
			if strings.TrimSpace(key) == member || one == "" || size+1+len(one) > maxBaggage {
				continue
			}
			kept, size = append(kept, one), size+1+len(one)
		}
	}
	header.Set(baggage, strings.Join(kept, ","))
}
