package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"
	"oras.land/oras-go/v2/registry/remote/retry"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

const maxRedirects = 5

// A client asks registries.
type client struct {
	options   Options
	transport *http.Transport
	login     auth.CredentialFunc
}

func newClient(o Options) (*client, error) {
	c := &client{options: o, transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: o.TLS, ForceAttemptHTTP2: true, DisableCompression: true,
		ResponseHeaderTimeout: time.Minute, TLSHandshakeTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns: 8, IdleConnTimeout: 30 * time.Second,
	}}
	if o.Login != nil {
		c.login = func(ctx context.Context, host string) (auth.Credential, error) {
			user, password, err := o.Login(ctx, host)
			return auth.Credential{Username: user, Password: password}, err
		}
		return c, nil
	}
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return nil, fmt.Errorf("read what docker login wrote: %w", err)
	}
	c.login = credentials.Credential(store)
	return c, nil
}

func (c *client) close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// repository is a repository of a registry. Each has an HTTP client of its own, so that none sees what another was told.
func (c *client) repository(p place) *remote.Repository {
	policy := &retry.GenericPolicy{
		Retryable: retry.DefaultPredicate, Backoff: retry.DefaultBackoff,
		MinWait: 200 * time.Millisecond, MaxWait: 5 * time.Second, MaxRetry: c.options.Attempts - 1,
	}
	again := retry.NewTransport(guard{next: c.transport, registry: p.host})
	again.Policy = func() retry.Policy { return policy }
	return &remote.Repository{
		Reference: registry.Reference{Registry: p.host, Repository: p.path},
		PlainHTTP: c.options.PlainHTTP, MaxMetadataBytes: maxManifest,
		Client: &auth.Client{
			Client:     &http.Client{Transport: again, CheckRedirect: redirect},
			Header:     http.Header{"User-Agent": {"turnbuckle"}},
			Credential: c.login, Cache: auth.NewCache(),
		},
	}
}

// guard lets a registry's token server be asked only where it is of the registry's own site: whoever answers for a registry
// may otherwise have its password sent to where they please.
type guard struct {
	next     http.RoundTripper
	registry string
}

// RoundTrip is http.RoundTripper's. Redirected requests pass: they have lost what was secret on their way.
func (g guard) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Response == nil && !sameSite(g.registry, request.URL.Host) {
		return nil, refusal.New(refusal.SourceRedirect, "the registry %s wants the password sent to %s, which is of another site", g.registry, request.URL.Host)
	}
	return g.next.RoundTrip(request)
}

// sameSite reports whether two hosts are one, or of one registered domain.
func sameSite(a, b string) bool {
	a, b = hostname(a), hostname(b)
	if a == b {
		return true
	}
	if net.ParseIP(a) != nil || net.ParseIP(b) != nil {
		return false
	}
	site, err := publicsuffix.EffectiveTLDPlusOne(a)
	other, err2 := publicsuffix.EffectiveTLDPlusOne(b)
	return err == nil && err2 == nil && site == other
}

func hostname(hostport string) string {
	return strings.ToLower((&url.URL{Host: hostport}).Hostname())
}

// redirect follows registries to where they keep their layers, but not from https to http.
func redirect(next *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return refusal.New(refusal.SourceRedirect, "%s redirects more than %d times", via[0].URL.Redacted(), maxRedirects)
	}
	if via[0].URL.Scheme == "https" && next.URL.Scheme != "https" {
		return refusal.New(refusal.SourceRedirect, "%s redirects to %s, which is not https", via[0].URL.Redacted(), next.URL.Redacted())
	}
	return nil
}

// open returns what a place can be read from.
func (c *client) open(ctx context.Context, p place) (oras.ReadOnlyTarget, error) {
	if p.host != "" {
		return c.repository(p), nil
	}
	return openLayout(ctx, p.path, max(c.options.Limits.Archive, maxManifest))
}

// refused gives an error of a registry a reason. where says what was asked.
func refused(err error, where fmt.Stringer) error {
	if err == nil {
		return nil
	}
	if r, ok := errors.AsType[*refusal.Error](err); ok {
		return r
	}
	answer, answered := errors.AsType[*errcode.ErrorResponse](err)
	switch {
	case errors.Is(err, errdef.ErrNotFound):
		return refusal.New(refusal.SourceMissing, "%s is not there", where)
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return refusal.New(refusal.SourceStatus, "%s: the registry wants a password, which docker login stores", where)
	case answered && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return refusal.New(refusal.SourceStatus, "%s: the registry answers %d; docker login stores another password", where, answer.StatusCode)
	case answered:
		return refusal.New(refusal.SourceStatus, "%s: the registry answers %d", where, answer.StatusCode)
	case errors.Is(err, errdef.ErrSizeExceedsLimit):
		return refusal.New(refusal.LimitArchive, "%s: %w", where, err)
	case errors.Is(err, errdef.ErrInvalidReference) || errors.Is(err, errdef.ErrUnsupported):
		return refusal.New(refusal.SourceManifest, "%s: %w", where, err)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the URL, which may hold a token
	}
	return refusal.New(refusal.SourceFailed, "%s: %w", where, err)
}
