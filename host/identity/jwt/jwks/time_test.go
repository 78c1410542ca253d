package jwks_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt/jwks"
)

// script answers in place of a network, so that a test's clock stands while it does.
type script struct {
	calls  atomic.Int64
	answer atomic.Pointer[func(*http.Request) ([]byte, error)]
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.calls.Add(1)
	body, err := (*s.answer.Load())(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
}

func (s *script) set(f func(*http.Request) ([]byte, error)) { s.answer.Store(&f) }

func (s *script) publish(document []byte) {
	s.set(func(*http.Request) ([]byte, error) { return document, nil })
}

func (s *script) fail() {
	s.set(func(*http.Request) ([]byte, error) { return nil, errors.New("no route to host") })
}

func (s *script) wantCalls(t *testing.T, want int64) {
	t.Helper()
	synctest.Wait()
	if got := s.calls.Swap(0); got != want {
		t.Errorf("%d fetches, want %d", got, want)
	}
}

// inBubble runs f with a clock of its own, and a set that is kept for 5 minutes.
func inBubble(t *testing.T, o jwks.Options, f func(t *testing.T, s *script, sets jwks.Sets)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.publish(document(t, edKey(t, "a")))
		o.Transport = s
		c := jwks.New(t.Context(), o)
		defer c.Close()
		sets := jwks.Sets{c.Use("http://keys.test/", 5*time.Minute)}
		defer sets.Close()
		s.wantCalls(t, 1)
		f(t, s, sets)
	})
}

// pass lets time go by.
func pass(d time.Duration) { <-time.After(d) }

func TestKeptAsLongAsWanted(t *testing.T) {
	inBubble(t, jwks.Options{}, func(t *testing.T, s *script, sets jwks.Sets) {
		old := mustFind(t, sets, "a")
		s.publish(document(t, edKey(t, "b")))
		pass(5*time.Minute - time.Second)
		s.wantCalls(t, 0)
		pass(2 * time.Second)
		s.wantCalls(t, 1)
		if sets.Has(old, time.Now()) {
			t.Error("a key that is no longer published is still there")
		}
		mustFind(t, sets, "b")
		pass(time.Hour)
		s.wantCalls(t, 12)
	})
}

func TestUnknownKeysFetchOnceAnInterval(t *testing.T) {
	inBubble(t, jwks.Options{Interval: 10 * time.Second}, func(t *testing.T, s *script, sets jwks.Sets) {
		flood := func() {
			for range 100 {
				wantError(t, sets, "nobody's", jwks.ErrUnknown)
			}
		}
		flood() // the first fetch has just been
		s.wantCalls(t, 0)
		pass(10 * time.Second)
		flood()
		s.wantCalls(t, 1)
		pass(9 * time.Second)
		flood()
		s.wantCalls(t, 0)
	})
}

func TestUnknownKeysAtOnceFetchOnce(t *testing.T) {
	inBubble(t, jwks.Options{Interval: time.Second}, func(t *testing.T, s *script, sets jwks.Sets) {
		pass(time.Second)
		newer := document(t, edKey(t, "b"))
		s.set(func(*http.Request) ([]byte, error) {
			pass(100 * time.Millisecond)
			return newer, nil
		})
		found := make(chan error)
		for range 1000 {
			go func() {
				_, err := sets.Find(t.Context(), "b")
				found <- err
			}()
		}
		for range 1000 {
			if err := <-found; err != nil {
				t.Error(err)
			}
		}
		s.wantCalls(t, 1)
	})
}

func TestWaitingIsBounded(t *testing.T) {
	inBubble(t, jwks.Options{Wait: 3 * time.Second, Timeout: 10 * time.Second}, func(t *testing.T, s *script, sets jwks.Sets) {
		s.set(func(r *http.Request) ([]byte, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		pass(10 * time.Second)
		began := time.Now()
		wantError(t, sets, "b", jwks.ErrUnknown)
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("waited %v, want 3s", took)
		}
		mustFind(t, sets, "a")
		if took := time.Since(began); took != 3*time.Second {
			t.Error("a known key waited for the endpoint")
		}
	})
}

func TestRetriesBackOff(t *testing.T) {
	inBubble(t, jwks.Options{Retry: time.Second}, func(t *testing.T, s *script, sets jwks.Sets) {
		s.fail()
		pass(5*time.Minute + time.Millisecond)
		s.wantCalls(t, 1)
		pass(time.Second)
		s.wantCalls(t, 1)
		pass(time.Second)
		s.wantCalls(t, 0)
		pass(time.Second)
		s.wantCalls(t, 1)
		pass(time.Hour)
		s.wantCalls(t, 63) // 4, 8, 16, 32, then every 60 s
		s.publish(document(t, edKey(t, "a")))
		pass(time.Minute)
		s.wantCalls(t, 1)
		pass(4 * time.Minute)
		s.wantCalls(t, 0)
	})
}

func TestStaleSetServesWithinItsBound(t *testing.T) {
	inBubble(t, jwks.Options{MaxStale: time.Hour}, func(t *testing.T, s *script, sets jwks.Sets) {
		key := mustFind(t, sets, "a")
		s.fail()
		pass(time.Hour + 5*time.Minute)
		mustFind(t, sets, "a")
		if !sets.Has(key, time.Now()) {
			t.Error("gone before its time")
		}
		pass(time.Second)
		if sets.Has(key, time.Now()) {
			t.Error("still there after its time")
		}
		wantError(t, sets, "a", jwks.ErrUnavailable, "no route to host")
		s.publish(document(t, edKey(t, "a")))
		pass(time.Minute)
		mustFind(t, sets, "a")
	})
}

func TestMostImpatientUserSetsThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.publish(document(t, edKey(t, "a")))
		c := jwks.New(t.Context(), jwks.Options{Transport: s})
		defer c.Close()
		patient := c.Use("http://keys.test/", time.Hour)
		defer patient.Close()
		impatient := c.Use("http://keys.test/", time.Minute)
		pass(30*time.Minute + time.Second)
		s.wantCalls(t, 31)
		impatient.Close()
		pass(30 * time.Minute) // the one due is still made, and then it is an hour
		if n := s.calls.Load(); n > 1 {
			t.Errorf("%d fetches, want at most 1", n)
		}
	})
}
