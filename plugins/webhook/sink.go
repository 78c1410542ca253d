package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	xrate "golang.org/x/time/rate"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/post"
)

// sink posts each item to one target, several at a time. It implements ship.Sink.
type sink struct {
	t       *target
	client  *http.Client
	limiter *xrate.Limiter // nil: no bound

	// Of items that wait for one before them: what is settled already, nil for those that have arrived; and how often
	// the others were tried.
	settled  map[string]error
	attempts map[string]int
}

var _ ship.Sink = (*sink)(nil)

func newSink(t *target, g *guard) (*sink, error) {
	secured, err := ship.Secured(t.CA)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: time.Duration(t.ship.Retry.Timeout), Control: g.control}
	s := &sink{
		t: t, settled: map[string]error{}, attempts: map[string]int{},
		client: &http.Client{
			// No proxy: it would connect where the guard does not look. No redirects: the signature is for this URL.
			Transport: &http.Transport{
				DialContext: dialer.DialContext, TLSClientConfig: secured, ForceAttemptHTTP2: true,
				MaxIdleConnsPerHost: t.InFlight, MaxConnsPerHost: t.InFlight, IdleConnTimeout: 90 * time.Second,
				MaxResponseHeaderBytes: 64 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if t.Rate.Requests > 0 {
		every := xrate.Limit(t.Rate.Requests / time.Duration(t.Rate.Per).Seconds())
		s.limiter = xrate.NewLimiter(every, max(1, int(t.Rate.Requests)))
	}
	return s, nil
}

// Close implements ship.Sink.
func (s *sink) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// Send implements ship.Sink: each item is a request of its own, all at the same time, as far as the rate lets.
func (s *sink) Send(ctx context.Context, items []ship.Item) (arrived int, err error) {
	results := make([]error, len(items))
	var sent sync.WaitGroup
	for i := range items {
		id := string(items[i].Key)
		if result, ok := s.settled[id]; ok {
			results[i] = result
			continue
		}
		if err := s.pace(ctx); err != nil {
			for k := i; k < len(items); k++ {
				results[k] = err
			}
			break
		}
		s.attempts[id]++
		sent.Go(func() { results[i] = s.post(ctx, id, items[i].Body) })
	}
	sent.Wait()
	return s.judge(items, results)
}

// pace waits for the rate, if that is soon; else it says when to come again.
func (s *sink) pace(ctx context.Context) error {
	if s.limiter == nil {
		return nil
	}
	const soon = time.Second
	r := s.limiter.Reserve()
	wait := r.Delay()
	if wait > soon {
		r.Cancel()
		return ship.RetryAfter(wait, errors.New("the target's rate is used up"))
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		r.Cancel()
		return ctx.Err()
	}
}

// judge makes of the results what the shipper wants to know, and remembers what it will ask again. What was tried too often,
// or will never be taken, is given up.
func (s *sink) judge(items []ship.Item, results []error) (arrived int, err error) {
	for arrived < len(items) && results[arrived] == nil {
		s.forget(items[arrived])
		arrived++
	}
	if arrived == len(items) {
		return arrived, nil
	}
	for i := arrived + 1; i < len(items); i++ {
		if results[i] == nil || permanent(results[i]) {
			s.settled[string(items[i].Key)] = results[i]
		}
	}
	first, why := items[arrived], results[arrived]
	if permanent(why) || s.attempts[string(first.Key)] >= s.t.Attempts {
		s.forget(first)
		return arrived, ship.Reject(1, why)
	}
	return arrived, why
}

func (s *sink) forget(i ship.Item) {
	delete(s.settled, string(i.Key))
	delete(s.attempts, string(i.Key))
}

// statusError is a reply that says no.
type statusError struct{ status int }

// Error implements error.
func (e *statusError) Error() string {
	return fmt.Sprintf("the target answered %d %s", e.status, http.StatusText(e.status))
}

// permanent reports whether another attempt would end the same.
func permanent(err error) bool {
	if forbidden := (*forbiddenError)(nil); errors.As(err, &forbidden) {
		return true
	}
	no := (*statusError)(nil)
	return errors.As(err, &no) && no.status < 500 && no.status != http.StatusRequestTimeout &&
		no.status != http.StatusTooEarly && no.status != http.StatusTooManyRequests
}

// post sends one item, and returns nil when a status in the 200s says that it has arrived.
func (s *sink) post(ctx context.Context, id string, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, s.t.Method, s.t.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", s.t.ContentType)
	r.Header.Set("User-Agent", "turnbuckle")
	for name, value := range s.t.Headers {
		r.Header.Set(name, value)
	}
	sign(r.Header, s.t.keys, id, time.Now(), body)
	reply, err := s.client.Do(r)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err // the URL may hold a token
		}
		return err
	}
	defer func() { _ = reply.Body.Close() }()
	const enough = 64 << 10 // so that the connection can be used again
	_, _ = io.CopyN(io.Discard, reply.Body, enough)
	if reply.StatusCode/100 == 2 {
		return nil
	}
	refused := &statusError{reply.StatusCode}
	if after := post.RetryAfter(reply.Header, time.Now()); after > 0 && !permanent(refused) {
		return ship.RetryAfter(after, refused)
	}
	return refused
}

// sign adds the headers of Standard Webhooks 1.0: the id, which stays the same over attempts, the time of this one, and an
// HMAC-SHA256 of both and the body for each key, so that receivers can change theirs one after the other.
func sign(h http.Header, keys [][]byte, id string, at time.Time, body []byte) {
	seconds := strconv.FormatInt(at.Unix(), 10)
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", seconds)
	var all []string
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + seconds + "."))
		mac.Write(body)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	if len(all) > 0 {
		h.Set("Webhook-Signature", strings.Join(all, " "))
	}
}
