package jwks_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt/jwks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// document is a key set as an endpoint publishes it.
func document(t testing.TB, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func edKey(t testing.TB, id string) jose.JSONWebKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: public, KeyID: id}
}

// endpoint is a server of key sets whose answer a test exchanges.
type endpoint struct {
	*httptest.Server
	mu     sync.Mutex
	answer http.HandlerFunc
	calls  int
}

func serve(t *testing.T, answer http.HandlerFunc) *endpoint {
	e := &endpoint{answer: answer}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		e.calls++
		answer := e.answer
		e.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) set(answer http.HandlerFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = answer
}

func (e *endpoint) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls
}

func publish(document []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write(document) }
}

// open returns a cache whose attempts are told to the channel; an unknown key id may always fetch.
func open(t *testing.T, o jwks.Options) (*jwks.Cache, <-chan jwks.Attempt) {
	told := make(chan jwks.Attempt, 100)
	o.Report = func(a jwks.Attempt) { told <- a }
	if o.Interval == 0 {
		o.Interval = time.Nanosecond
	}
	if o.Retry == 0 {
		o.Retry = time.Hour // nothing but what a test asks for
	}
	c := jwks.New(t.Context(), o)
	t.Cleanup(c.Close)
	return c, told
}

func hold(t *testing.T, c *jwks.Cache, url string) jwks.Sets {
	s := jwks.Sets{c.Use(url, time.Hour)}
	t.Cleanup(s.Close)
	return s
}

func mustFind(t *testing.T, s jwks.Sets, id string) *jwks.Key {
	t.Helper()
	keys, err := s.Find(t.Context(), id)
	if err != nil || len(keys) != 1 {
		t.Fatalf("Find(%q): %d keys, %v; want one", id, len(keys), err)
	}
	return keys[0]
}

func wantError(t *testing.T, s jwks.Sets, id string, want error, texts ...string) {
	t.Helper()
	keys, err := s.Find(t.Context(), id)
	if !errors.Is(err, want) {
		t.Fatalf("Find(%q): %d keys, %v; want %v", id, len(keys), err, want)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("Find(%q): %v; want it to say %q", id, err, text)
		}
	}
}

func TestFetchedWithoutBeingAsked(t *testing.T) {
	e := serve(t, publish(document(t, edKey(t, "a"))))
	c, told := open(t, jwks.Options{})
	s := hold(t, c, e.URL)
	if a := <-told; a.Err != nil || a.Keys != 1 {
		t.Fatalf("got %+v, want one key", a)
	}
	mustFind(t, s, "a")
	if n := e.count(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestRequestsBeforeTheFirstSetWaitForIt(t *testing.T) {
	asked, release := make(chan bool), make(chan bool)
	set := document(t, edKey(t, "a"))
	e := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		asked <- true
		<-release
		w.Write(set)
	})
	c, _ := open(t, jwks.Options{Wait: time.Hour})
	s := hold(t, c, e.URL) // does not wait
	<-asked
	const requests = 50
	found := make(chan error, requests)
	for range requests {
		go func() {
			_, err := s.Find(t.Context(), "a")
			found <- err
		}()
	}
	close(release)
	for range requests {
		if err := <-found; err != nil {
			t.Error(err)
		}
	}
	if n := e.count(); n != 1 {
		t.Errorf("%d fetches for %d requests, want 1", n, requests)
	}
}

func TestRotation(t *testing.T) {
	first, second := edKey(t, "first"), edKey(t, "second")
	e := serve(t, publish(document(t, first)))
	c, _ := open(t, jwks.Options{Wait: time.Hour})
	s := hold(t, c, e.URL)
	old := mustFind(t, s, "first")

	e.set(publish(document(t, first, second)))
	mustFind(t, s, "second") // an id that is not known fetches
	if again := mustFind(t, s, "first"); again != old {
		t.Error("a key that is still published is another pointer")
	}
	e.set(publish(document(t, second)))
	wantError(t, s, "third", jwks.ErrUnknown)
	if s.Has(old, time.Now()) {
		t.Error("a key that is no longer published is still there")
	}
	wantError(t, s, "first", jwks.ErrUnknown)
}

func TestKeyReplacedUnderItsID(t *testing.T) {
	e := serve(t, publish(document(t, edKey(t, "a"))))
	c, told := open(t, jwks.Options{})
	s := hold(t, c, e.URL)
	<-told
	old := mustFind(t, s, "a")
	e.set(publish(document(t, edKey(t, "a"))))
	c.Refresh()
	<-told
	if s.Has(old, time.Now()) || mustFind(t, s, "a") == old {
		t.Error("another key under the same id counts as the old one")
	}
}

func TestEndpointDown(t *testing.T) {
	e := serve(t, publish(document(t, edKey(t, "a"))))
	c, told := open(t, jwks.Options{})
	s := hold(t, c, e.URL+"?apikey=geheim")
	<-told
	key := mustFind(t, s, "a")
	e.Close()
	c.Refresh()
	a := <-told
	if a.Err == nil || a.Stale <= 0 {
		t.Fatalf("got %+v, want an error and the age of what serves", a)
	}
	if strings.Contains(a.Err.Error()+a.URL, "geheim") {
		t.Errorf("%v (%s) shows the query", a.Err, a.URL)
	}
	if mustFind(t, s, "a") != key || !s.Has(key, time.Now()) {
		t.Error("the stale set does not serve")
	}
	wantError(t, s, "b", jwks.ErrUnknown) // tried, in vain
}

func TestEndpointDownFromTheBeginning(t *testing.T) {
	e := serve(t, nil)
	e.Close()
	c, told := open(t, jwks.Options{Interval: time.Hour})
	s := hold(t, c, e.URL)
	if a := <-told; a.Err == nil || a.Stale != 0 {
		t.Fatalf("got %+v, want an error", a)
	}
	wantError(t, s, "a", jwks.ErrUnavailable, e.URL)
}

func TestEndpointSlow(t *testing.T) {
	e := serve(t, publish(document(t, edKey(t, "a"))))
	c, told := open(t, jwks.Options{Wait: time.Hour})
	s := hold(t, c, e.URL)
	<-told
	asked, release := make(chan bool), make(chan bool)
	newer := document(t, edKey(t, "b"))
	e.set(func(w http.ResponseWriter, _ *http.Request) {
		asked <- true
		<-release
		w.Write(newer)
	})
	c.Refresh()
	<-asked
	mustFind(t, s, "a") // while the endpoint takes its time
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := s.Find(ctx, "b")
		left <- err
	}()
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("a client that left: %v, want %v", err, context.Canceled)
	}
	close(release)
	<-told
	mustFind(t, s, "b")
}

func TestEndpointAnswersBadly(t *testing.T) {
	many := fmt.Sprintf(`{"keys":[%s]}`, strings.TrimSuffix(strings.Repeat(`{"kty":"x"},`, jwks.MaxKeys+1), ","))
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"huge", func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(`{"keys":[],"x":"`))
			for range jwks.MaxBytes >> 10 {
				w.Write([]byte(strings.Repeat("x", 1<<10)))
			}
			w.Write([]byte(`"}`))
		}, "more than 1048576 bytes"},
		{"many keys", publish([]byte(many)), "1001 keys: at most 1000"},
		{"status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "500 Internal Server Error"},
		{"HTML", publish([]byte("<html>sign in</html>")), "not a key set"},
		{"no list", publish([]byte(`{"error":"x"}`)), `no list "keys"`},
		{"two lists", publish([]byte(`{"keys":[],"keys":[]}`)), "not a key set"},
		{"redirects", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusFound) }, "more than 3 redirects"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := serve(t, publish(document(t, edKey(t, "a"))))
			c, told := open(t, jwks.Options{})
			s := hold(t, c, e.URL)
			<-told
			e.set(test.answer)
			c.Refresh()
			if a := <-told; a.Err == nil || !strings.Contains(a.Err.Error(), test.want) {
				t.Errorf("got %v, want %q", a.Err, test.want)
			}
			mustFind(t, s, "a") // as before
		})
	}
}

func TestRedirectAwayFromTLS(t *testing.T) {
	plain := serve(t, publish(document(t, edKey(t, "a"))))
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	t.Cleanup(secure.Close)
	c, told := open(t, jwks.Options{Transport: secure.Client().Transport})
	hold(t, c, secure.URL)
	if a := <-told; a.Err == nil || !strings.Contains(a.Err.Error(), "redirected from https to http") {
		t.Errorf("got %v, want a refusal to follow", a.Err)
	}
	if plain.count() > 0 {
		t.Error("the redirect was followed")
	}
}

func TestOneSlowSetHidesNoOther(t *testing.T) {
	release := make(chan bool)
	slow := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	quick := serve(t, publish(document(t, edKey(t, "a"))))
	c, told := open(t, jwks.Options{Wait: time.Hour, Interval: time.Hour})
	s := jwks.Sets{c.Use(slow.URL, 0), c.Use(quick.URL, 0)}
	t.Cleanup(s.Close)
	<-told
	mustFind(t, s, "a")
}

func TestUsersShareAndLeave(t *testing.T) {
	e := serve(t, publish(document(t, edKey(t, "a"))))
	c, told := open(t, jwks.Options{Interval: time.Hour})
	first, second := c.Use(e.URL, time.Hour), c.Use(e.URL, time.Minute)
	<-told
	first.Close()
	mustFind(t, jwks.Sets{second}, "a")
	second.Close()
	third := hold(t, c, e.URL) // begins anew
	<-told
	mustFind(t, third, "a")
	if n := e.count(); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
}

func TestCloseDoesNotWaitForTheEndpoint(t *testing.T) {
	asked := make(chan bool)
	e := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- true
		<-r.Context().Done()
	})
	c, _ := open(t, jwks.Options{})
	s := c.Use(e.URL, 0)
	<-asked
	c.Close()
	s.Close()
	late := c.Use(e.URL, 0) // finds nothing, does nothing
	wantError(t, jwks.Sets{late}, "a", jwks.ErrUnavailable)
	late.Close()
}

func TestParseLeavesOutWhatCannotVerify(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw := func(k jose.JSONWebKey) string {
		b, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	modulus := b64(strong.N.Bytes())
	tests := []struct {
		name, key string
		good      bool
	}{
		{"RSA", raw(jose.JSONWebKey{Key: &strong.PublicKey, KeyID: "k"}), true},
		{"ECDSA", raw(jose.JSONWebKey{Key: &ec.PublicKey, KeyID: "k"}), true},
		{"EdDSA", raw(edKey(t, "k")), true},
		{"for signatures", fmt.Sprintf(`{"kty":"RSA","use":"sig","key_ops":["verify"],"n":%q,"e":"AQAB"}`, modulus), true},
		{"weak RSA", raw(jose.JSONWebKey{Key: &weak.PublicKey}), false},
		{"exponent 1", fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQ"}`, modulus), false},
		{"even exponent", fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"BA"}`, modulus), false},
		{"P-224", fmt.Sprintf(`{"kty":"EC","crv":"P-224","x":%q,"y":%q}`, b64(short.X.Bytes()), b64(short.Y.Bytes())), false},
		{"not on the curve", fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, b64(make([]byte, 32)), b64(make([]byte, 32))), false},
		{"short Ed25519", `{"kty":"OKP","crv":"Ed25519","x":"AAAA"}`, false},
		{"X25519", `{"kty":"OKP","crv":"X25519","x":"` + b64(make([]byte, 32)) + `"}`, false},
		{"symmetric", `{"kty":"oct","k":"c2VjcmV0"}`, false},
		{"private", raw(jose.JSONWebKey{Key: strong}), false},
		{"for encryption", fmt.Sprintf(`{"kty":"RSA","use":"enc","n":%q,"e":"AQAB"}`, modulus), false},
		{"for another operation", fmt.Sprintf(`{"kty":"RSA","key_ops":["encrypt"],"n":%q,"e":"AQAB"}`, modulus), false},
		{"twice the modulus", fmt.Sprintf(`{"kty":"RSA","n":%q,"n":%q,"e":"AQAB"}`, modulus, modulus), false},
		{"long id", raw(edKey(t, strings.Repeat("k", 1025))), false},
		{"unknown type", `{"kty":"new"}`, false},
		{"no object", `7`, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			keys, skipped, err := jwks.Parse([]byte(`{"keys":[` + test.key + `]}`))
			if err != nil {
				t.Fatal(err)
			}
			if good := len(keys) == 1; good != test.good || len(keys)+skipped != 1 {
				t.Errorf("got %d keys, %d skipped; want it good: %v", len(keys), skipped, test.good)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(document(f, edKey(f, "a")))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, _, err := jwks.Parse(data)
		if err != nil && keys != nil {
			t.Error("keys with an error")
		}
		for _, k := range keys {
			if why := jwks.Check(k.Public); why != nil {
				t.Errorf("a key that must not be used: %v", why)
			}
		}
	})
}
