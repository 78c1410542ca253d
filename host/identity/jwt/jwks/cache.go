package jwks

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// Options say how sets are fetched. Zero fields mean the defaults named.
type Options struct {
	// Transport carries the requests; nil: a transport of its own, with the proxy of the environment and the system's
	// authorities. One that is given is not closed.
	Transport http.RoundTripper
	// Timeout bounds a fetch, from name lookup to the last byte: 10 s.
	Timeout time.Duration
	// Wait bounds how long Find waits for a fetch under way: 3 s.
	Wait time.Duration
	// Interval is the least time between the beginnings of two fetches that unknown key ids cause: 10 s.
	Interval time.Duration
	// Retry is how long after a failure the next attempt begins, doubled with each up to a minute or what the set is
	// kept for, whichever is less: 1 s.
	Retry time.Duration
	// MaxStale is how much longer than its users wanted a set serves while it cannot be fetched: 24 h.
	MaxStale time.Duration
	// Report, when not nil, is told of every attempt, from the goroutine that made it: it must be quick and not call the
	// cache.
	Report func(Attempt)
}

// Attempt is what became of a fetch.
type Attempt struct {
	// URL is without user, password and query, which may hold secrets.
	URL string
	// Keys were usable, Skipped not; both are 0 when Err says why there is no newer set.
	Keys, Skipped int
	// Stale is the age of the set that serves meanwhile; 0 when Err is nil or there is none.
	Stale time.Duration
	Took  time.Duration
	Err   error
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.Timeout, 10 * time.Second}, {&o.Wait, 3 * time.Second}, {&o.Interval, 10 * time.Second},
		{&o.Retry, time.Second}, {&o.MaxStale, 24 * time.Hour},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if o.Report == nil {
		o.Report = func(Attempt) {}
	}
	return o
}

// Cache holds the key sets of a gateway, one for each URL however many APIs use it. It is safe for concurrent use.
type Cache struct {
	options Options
	client  *http.Client
	own     *http.Transport // nil when it was given
	ctx     context.Context
	cancel  context.CancelFunc

	mu        sync.Mutex
	endpoints map[string]*endpoint
	closed    bool
	running   sync.WaitGroup
}

// New returns an empty cache. Its fetches end when ctx does, or at Close.
func New(ctx context.Context, o Options) *Cache {
	c := &Cache{options: o.withDefaults(), endpoints: map[string]*endpoint{}}
	c.ctx, c.cancel = context.WithCancel(ctx)
	transport := c.options.Transport
	if transport == nil {
		c.own = http.DefaultTransport.(*http.Transport).Clone()
		c.own.MaxConnsPerHost, c.own.MaxIdleConnsPerHost, c.own.IdleConnTimeout = 4, 1, 30*time.Second
		c.own.MaxResponseHeaderBytes = 64 << 10
		transport = c.own
	}
	c.client = &http.Client{Transport: transport, CheckRedirect: followable}
	return c
}

// followable keeps redirects few, and what was asked for over TLS on TLS.
func followable(req *http.Request, via []*http.Request) error {
	if len(via) > 3 {
		return errors.New("more than 3 redirects")
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("redirected from https to " + req.URL.Scheme)
	}
	return nil
}

// Use returns a hold on the set at url (http or https), which the caller closes. The first user starts fetching it, and
// Use does not wait for that. The set is fetched again when it is cacheFor old (0: 5 min; at least Options.Retry), or as
// early as the least patient of its users wants.
func (c *Cache) Use(url string, cacheFor time.Duration) *Set {
	if cacheFor <= 0 {
		cacheFor = defaultCacheFor
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.endpoints[url]
	if e == nil {
		e = newEndpoint(c, url)
		c.endpoints[url] = e
		if c.closed {
			close(e.done)
			e.cancel()
		} else {
			c.running.Go(e.run)
		}
	}
	s := &Set{at: e, cacheFor: cacheFor}
	e.users = append(e.users, s)
	e.reschedule()
	return s
}

const defaultCacheFor = 5 * time.Minute

// release takes a user away, and stops an endpoint that has none.
func (c *Cache) release(s *Set) {
	e := s.at
	c.mu.Lock()
	for i, u := range e.users {
		if u == s {
			e.users = append(e.users[:i:i], e.users[i+1:]...)
			break
		}
	}
	last := len(e.users) == 0
	if last && c.endpoints[e.url] == e {
		delete(c.endpoints, e.url)
	}
	c.mu.Unlock()
	if last {
		e.cancel()
		<-e.done
	}
}

// patience is how long the least patient user of e wants a set to be kept.
func (c *Cache) patience(e *endpoint) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	least := time.Duration(0)
	for _, u := range e.users {
		if least == 0 || u.cacheFor < least {
			least = u.cacheFor
		}
	}
	if least == 0 {
		return defaultCacheFor
	}
	return least
}

// Refresh fetches every set now, whatever bounds say, without waiting: for operators who know of a rotation.
func (c *Cache) Refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.endpoints {
		e.begin(0)
	}
}

// Close stops all fetches and waits for them. Sets serve what they have until it is too old.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.running.Wait()
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}
