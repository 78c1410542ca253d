package bots

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
)

// zone is a name server on loopback, with what it is told.
type zone struct {
	conn net.PacketConn
	mu   sync.Mutex
	ptr  map[string][]string     // reversed name to names
	a    map[string][]netip.Addr // name to addresses
	fail map[string]bool         // names that it fails for
	asks map[string]int
	done chan struct{}
}

// newZone starts one, which tell has told what it knows.
func newZone(t *testing.T, tell func(z *zone)) *zone {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{
		conn: conn, ptr: map[string][]string{}, a: map[string][]netip.Addr{}, fail: map[string]bool{}, asks: map[string]int{},
		done: make(chan struct{}),
	}
	tell(z)
	go z.serve()
	t.Cleanup(func() {
		_ = conn.Close()
		<-z.done
	})
	return z
}

func (z *zone) address() string { return z.conn.LocalAddr().String() }

func (z *zone) asked(name string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asks[name]
}

func (z *zone) serve() {
	defer close(z.done)
	buf := make([]byte, 4096)
	for {
		n, from, err := z.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		z.answer(&m)
		if out, err := m.Pack(); err == nil {
			_, _ = z.conn.WriteTo(out, from)
		}
	}
}

func (z *zone) answer(m *dnsmessage.Message) {
	z.mu.Lock()
	defer z.mu.Unlock()
	q := m.Questions[0]
	name := q.Name.String()
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	z.asks[name]++
	head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}
	switch {
	case z.fail[name]:
		m.RCode = dnsmessage.RCodeServerFailure
	case q.Type == dnsmessage.TypePTR && z.ptr[name] != nil:
		for _, to := range z.ptr[name] {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(to)}})
		}
	case z.a[name] != nil:
		for _, a := range z.a[name] {
			if q.Type == dnsmessage.TypeA && a.Is4() {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: a.As4()}})
			}
			if q.Type == dnsmessage.TypeAAAA && a.Is6() {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
			}
		}
	default:
		m.RCode = dnsmessage.RCodeNameError
	}
}

func settled() verify {
	return verify{
		Wait: ship.Duration(10 * time.Second), Timeout: ship.Duration(10 * time.Second), Keep: ship.Duration(time.Hour), Retry: ship.Duration(time.Minute),
		Size: 100, Lookups: 4,
	}
}

// Names that an address claims and that do not lead back to it are worth nothing.
func TestNamesStandUp(t *testing.T) {
	crawler, liar, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")
	z := newZone(t, func(z *zone) {
		z.ptr["1.2.0.192.in-addr.arpa."] = []string{"crawl-1.GoogleBot.com.", "other.example."}
		z.a["crawl-1.GoogleBot.com."] = []netip.Addr{crawler}
		z.ptr["2.2.0.192.in-addr.arpa."] = []string{"crawl-1.GoogleBot.com."}
		z.ptr["1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa."] = []string{"six.search.msn.com."}
		z.a["six.search.msn.com."] = []netip.Addr{six}
		z.fail["4.2.0.192.in-addr.arpa."] = true
	})
	v, err := newVerifier(t.Context(), settled(), newResolver(z.address()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = v.close() }()
	for _, tt := range []struct {
		addr  netip.Addr
		names []string
		known bool
	}{
		{crawler, []string{"crawl-1.googlebot.com"}, true},
		{liar, nil, true},
		{six, []string{"six.search.msn.com"}, true},
		{netip.MustParseAddr("192.0.2.3"), nil, true},  // has no name
		{netip.MustParseAddr("192.0.2.4"), nil, false}, // nobody knows
	} {
		names, known := v.names(t.Context(), tt.addr)
		if known != tt.known || !slices.Equal(names, tt.names) {
			t.Errorf("%s: got %q, %t", tt.addr, names, known)
		}
	}
	before := z.asked("1.2.0.192.in-addr.arpa.")
	if _, known := v.names(t.Context(), crawler); !known || z.asked("1.2.0.192.in-addr.arpa.") != before {
		t.Error("an answer is not kept")
	}
	v.now = func() time.Time { return time.Now().Add(2 * time.Minute) }
	z.mu.Lock()
	z.fail = nil
	z.mu.Unlock()
	if _, known := v.names(t.Context(), netip.MustParseAddr("192.0.2.4")); !known {
		t.Error("a lookup that failed is not tried again")
	}
}

// held is a resolver that answers when it is let.
type held struct {
	entered chan string
	leave   chan struct{}
}

func (h *held) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	h.entered <- addr
	select {
	case <-h.leave:
		return nil, &net.DNSError{IsNotFound: true}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *held) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return nil, errors.New("nobody asks")
}

// No request waits for a lookup unless the settings say so, as many run at a time as they say, one for an address, and
// closing ends them.
func TestLookupsAreBounded(t *testing.T) {
	h := &held{make(chan string, 10), make(chan struct{})}
	s := settled()
	s.Wait, s.Lookups = 0, 2
	v, err := newVerifier(t.Context(), s, h)
	if err != nil {
		t.Fatal(err)
	}
	var addrs []string
	for _, a := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		if _, known := v.names(t.Context(), netip.MustParseAddr(a)); known {
			t.Errorf("%s is known already", a)
		}
	}
	for range 2 {
		addrs = append(addrs, <-h.entered)
	}
	slices.Sort(addrs)
	if diff := cmp.Diff([]string{"192.0.2.1", "192.0.2.2"}, addrs); diff != "" {
		t.Error(diff)
	}
	if err := v.close(); err != nil {
		t.Fatal(err)
	}
	if len(h.entered) != 0 {
		t.Errorf("%d more lookups", len(h.entered))
	}
	if _, known := v.names(t.Context(), netip.MustParseAddr("192.0.2.9")); known || len(h.entered) != 0 {
		t.Error("it looks up after its end")
	}
}

// A name that merely ends like a domain is not in it.
func TestWithin(t *testing.T) {
	for name, want := range map[string]bool{
		"googlebot.com": true, "a.googlebot.com": true, "evilgooglebot.com": false, "googlebot.com.evil.example": false, "": false,
	} {
		if got := within([]string{name}, []string{"googlebot.com"}); got != want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

// Who rents a machine in a cloud gets a name of the cloud's owner for its address, that leads back to it. It is no crawler
// for that.
func TestCloudsAreNoOwners(t *testing.T) {
	for _, name := range []string{
		"1.2.0.192.bc.googleusercontent.com", "ec2-192-0-2-1.compute-1.amazonaws.com", "192-0-2-1.cloudapp.azure.com", "vm.yandexcloud.net", "bc.baidubce.com",
	} {
		for crawler, domains := range owned() {
			if within([]string{name}, domains) {
				t.Errorf("a machine named %s may call itself %s", name, crawler)
			}
		}
	}
}
