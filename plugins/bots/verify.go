package bots

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// owned lists whose crawlers come from where: by name, the domains in which names of the crawler's addresses end, as its
// owner publishes.
func owned() map[string][]string {
	all := map[string][]string{
		"Baiduspider": {"baidu.com", "baidu.jp"}, "Applebot": {"applebot.apple.com"}, "Slurp": {"crawl.yahoo.net"},
		"PetalBot": {"petalsearch.com", "aspiegel.com"}, "SeznamBot": {"seznam.cz"}, "Amazonbot": {"crawl.amazonbot.amazon"},
		"Yeti": {"naver.com"}, "MojeekBot": {"mojeek.com"}, "CCBot": {"crawl.commoncrawl.org"},
	}
	for _, owner := range []struct{ names, domains []string }{
		{
			[]string{
				"Googlebot", "Googlebot-Mobile", "Googlebot-Image", "Googlebot-News", "Googlebot-Video", "AdsBot-Google",
				"AdsBot-Google-Mobile", "Mediapartners-Google", "Mediapartners (Googlebot", "APIs-Google",
				"GoogleOther", "Google-InspectionTool", "Storebot-Google",
			},
			// Not googleusercontent.com: addresses of everybody's machines in Google's cloud have names there.
			[]string{"googlebot.com", "google.com"},
		},
		{[]string{"Feedfetcher-Google"}, []string{"google.com", "gae.googleusercontent.com"}},
		{[]string{"bingbot", "msnbot", "Adidxbot", "BingPreview"}, []string{"search.msn.com"}},
		{[]string{"yandex.com/bots", "YandexRenderResourcesBot"}, []string{"yandex.ru", "yandex.net", "yandex.com"}},
	} {
		for _, name := range owner.names {
			all[name] = owner.domains
		}
	}
	return all
}

// domainsOf says in which domains each crawler must be; none where that is not known. What an operator says of a name
// holds in place of what we know.
func domainsOf(entries []crawler, operators map[string][]string) ([][]string, error) {
	of := owned()
	maps.Copy(of, operators)
	all := make([][]string, len(entries))
	for i, e := range entries {
		all[i] = of[e.name]
	}
	for name := range of {
		if !slices.ContainsFunc(entries, func(e crawler) bool { return e.name == name }) {
			return nil, fmt.Errorf("verify.domains: the public list has no crawler named %q", name)
		}
	}
	return all, nil
}

// resolver is what of a net.Resolver is used.
type resolver interface {
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// newResolver asks the server at an address, else those of the system.
func newResolver(address string) *net.Resolver {
	r := &net.Resolver{}
	if address != "" {
		r.PreferGo = true
		r.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		}
	}
	return r
}

// verifier finds names of addresses that stand up to being asked back: the name's addresses have the address among them.
// Lookups run beside requests, a bounded number at a time, and answers are kept. It may be used by several goroutines.
type verifier struct {
	v        verify
	resolver resolver
	now      func() time.Time
	slots    chan struct{}

	ctx     context.Context
	cancel  context.CancelFunc
	lookups sync.WaitGroup

	mu     sync.Mutex
	closed bool
	known  *simplelru.LRU[netip.Addr, *answer]
}

// answer is what is known of an address. It may be read once done is closed.
type answer struct {
	done  chan struct{}
	names []string
	known bool // false: the lookup failed
	until time.Time
}

func newVerifier(ctx context.Context, v verify, r resolver) (*verifier, error) {
	known, err := simplelru.NewLRU[netip.Addr, *answer](v.Size, nil)
	if err != nil {
		return nil, err
	}
	w := &verifier{v: v, resolver: r, now: time.Now, slots: make(chan struct{}, v.Lookups), known: known}
	w.ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return w, nil
}

// close ends lookups that are under way and waits for them.
func (w *verifier) close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	w.lookups.Wait()
	return nil
}

// names returns the names of an address that stand up, and whether they are known by now: who asks first waits as long as
// the settings say.
func (w *verifier) names(ctx context.Context, addr netip.Addr) (names []string, known bool) {
	a := w.ask(addr)
	if a == nil {
		return nil, false
	}
	select {
	case <-a.done:
		return a.names, a.known
	default:
	}
	if w.v.Wait <= 0 {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(w.v.Wait))
	defer cancel()
	select {
	case <-a.done:
		return a.names, a.known
	case <-ctx.Done():
		return nil, false
	}
}

// ask returns the answer there is, or begins to look for one; nil when too many are being looked for.
func (w *verifier) ask(addr netip.Addr) *answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a, ok := w.known.Get(addr); ok && !w.over(a) {
		return a
	}
	if w.closed {
		return nil
	}
	select {
	case w.slots <- struct{}{}:
	default:
		return nil
	}
	a := &answer{done: make(chan struct{})}
	w.known.Add(addr, a)
	w.lookups.Go(func() {
		defer func() { <-w.slots }()
		w.look(addr, a)
	})
	return a
}

// over reports whether an answer is there and too old.
func (w *verifier) over(a *answer) bool {
	select {
	case <-a.done:
		return w.now().After(a.until)
	default:
		return false
	}
}

func (w *verifier) look(addr netip.Addr, a *answer) {
	defer close(a.done)
	ctx, cancel := context.WithTimeout(w.ctx, time.Duration(w.v.Timeout))
	defer cancel()
	var err error
	a.names, err = w.confirmed(ctx, addr)
	a.known = err == nil
	keep := w.v.Keep
	if err != nil {
		keep = w.v.Retry
	}
	a.until = w.now().Add(time.Duration(keep))
}

// maxNames bounds how many names of one address are asked back: who owns the address chooses them.
const maxNames = 8

func (w *verifier) confirmed(ctx context.Context, addr netip.Addr) ([]string, error) {
	names, err := w.resolver.LookupAddr(ctx, addr.String())
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var good []string
	for _, name := range names[:min(len(names), maxNames)] {
		addrs, err := w.resolver.LookupNetIP(ctx, "ip", name)
		if missing(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Unmap() == addr }) {
			good = append(good, strings.ToLower(strings.TrimSuffix(name, ".")))
		}
	}
	return good, nil
}

// missing reports whether an error says that there is no such name.
func missing(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// within reports whether one of names is one of domains or in it.
func within(names, domains []string) bool {
	for _, n := range names {
		for _, d := range domains {
			if n == d || strings.HasSuffix(n, "."+d) {
				return true
			}
		}
	}
	return false
}
