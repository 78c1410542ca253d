package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// endpoint fetches one URL: one goroutine does so for everybody, so that there is never more than one request.
type endpoint struct {
	owner   *Cache
	options Options
	url     string
	users   []*Set // under owner.mu
	state   atomic.Pointer[state]
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{} // closed when the goroutine has ended
	wake    chan struct{} // room for one: fetch now, when pending; look at the time again otherwise

	mu      sync.Mutex
	began   time.Time // the last attempt
	pending bool      // an attempt is under way, or the goroutine has been told to begin one
}

func newEndpoint(c *Cache, url string) *endpoint {
	e := &endpoint{
		owner: c, options: c.options, url: url, done: make(chan struct{}), wake: make(chan struct{}, 1),
		began: time.Now(), pending: true, // the first attempt is as good as begun
	}
	e.ctx, e.cancel = context.WithCancel(c.ctx)
	e.state.Store(newState(nil, time.Time{}, nil))
	return e
}

// begin asks for an attempt unless one is pending or began less than interval ago, and reports whether one is pending.
func (e *endpoint) begin(interval time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.beginLocked(interval)
}

func (e *endpoint) beginLocked(interval time.Duration) bool {
	if e.pending {
		return true
	}
	if e.ctx.Err() != nil || time.Since(e.began) < interval {
		return false
	}
	e.pending, e.began = true, time.Now()
	e.reschedule()
	return true
}

// reschedule makes the goroutine look what to do next.
func (e *endpoint) reschedule() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// ask returns what is closed after the attempt that is pending, one begun for the asker if bounds allow it; nil when there
// is none to wait for.
func (e *endpoint) ask() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.beginLocked(e.options.Interval) {
		return nil
	}
	return e.state.Load().next
}

// run fetches until the endpoint is closed.
func (e *endpoint) run() {
	defer close(e.done)
	failures := 0
	for {
		if e.attempt() {
			failures = 0
		} else {
			failures++
		}
		if !e.sleep(time.Now(), failures) {
			return
		}
	}
}

// sleep waits until the next attempt is due; it reports false when there will be none.
func (e *endpoint) sleep(ended time.Time, failures int) bool {
	for e.ctx.Err() == nil {
		e.mu.Lock()
		pending := e.pending
		e.mu.Unlock()
		left := time.Until(ended.Add(e.pause(failures)))
		if pending || left <= 0 {
			return true
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-e.wake:
		case <-e.ctx.Done():
		}
		timer.Stop()
	}
	return false
}

// pause is the time from the end of one attempt to the beginning of the next that nobody asks for.
func (e *endpoint) pause(failures int) time.Duration {
	keep := max(e.owner.patience(e), e.options.Retry)
	if failures == 0 {
		return keep
	}
	return min(keep, time.Minute, e.options.Retry<<min(failures-1, 6))
}

// attempt fetches once and publishes what came of it.
func (e *endpoint) attempt() bool {
	start := time.Now()
	e.mu.Lock()
	e.began, e.pending = start, true
	e.mu.Unlock()
	keys, skipped, err := e.fetch()
	now, old := time.Now(), e.state.Load()
	told := Attempt{URL: redacted(e.url), Keys: len(keys), Skipped: skipped, Took: now.Sub(start), Err: err}
	newer := old.follow(keys, now)
	if err != nil {
		newer = newState(old.keys, old.fetched, err)
		if !old.fetched.IsZero() {
			told.Stale = now.Sub(old.fetched)
		}
	}
	e.mu.Lock()
	e.state.Store(newer)
	e.pending = false
	e.mu.Unlock()
	close(old.next)
	if e.ctx.Err() == nil {
		e.options.Report(told)
	}
	return err == nil
}

// fetch gets the set. Its errors name the URL without what may be secret in it.
func (e *endpoint) fetch() (keys []*Key, skipped int, err error) {
	ctx, cancel := context.WithTimeout(e.ctx, e.options.Timeout)
	defer cancel()
	fail := func(err error) ([]*Key, int, error) {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		return nil, 0, fmt.Errorf("key set at %s: %w", redacted(e.url), err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url, nil)
	if err != nil {
		return fail(err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := e.owner.client.Do(req)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fail(fmt.Errorf("the endpoint answered %s", resp.Status))
	}
	document, err := io.ReadAll(io.LimitReader(resp.Body, MaxBytes+1))
	if err != nil {
		return fail(err)
	}
	if keys, skipped, err = Parse(document); err != nil {
		return fail(err)
	}
	return keys, skipped, nil
}

// redacted is a URL without user, password, query and fragment.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(not a URL)"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}
