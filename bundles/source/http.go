package source

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

// HTTPOptions say how an HTTP server is asked. The zero value, with Limits, is useful.
type HTTPOptions struct {
	Limits Limits
	// AllowPlainHTTP takes http URLs.
	AllowPlainHTTP bool
	// TLS is for https; nil is TLS 1.2 and newer with the system's roots. It concerns this source alone.
	TLS *tls.Config
	// Timeout bounds each attempt, 60 s by default; Attempts is how many there are, 4 by default, with a wait between them
	// that doubles from 200 ms to 5 s.
	Timeout  time.Duration
	Attempts int
	// Cache keeps what was fetched; nil keeps nothing.
	Cache *Cache
	// Wait waits between attempts, until the context ends; nil is a timer.
	Wait func(ctx context.Context, d time.Duration) error
}

// HTTP is a server of bundles below a base URL.
type HTTP struct {
	base      *url.URL
	options   HTTPOptions
	client    *http.Client
	transport *http.Transport
}

const (
	firstWait    = 200 * time.Millisecond
	longestWait  = 5 * time.Second
	maxRedirects = 5
)

// NewHTTP returns the source below a base URL. It asks nothing yet.
func NewHTTP(base string, o HTTPOptions) (*HTTP, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil:
		return nil, refusal.New(refusal.SourceScheme, "the address of bundles: %w", err)
	case u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, refusal.New(refusal.SourceScheme, "bundles at %q", u.Redacted())
	case u.Scheme == "http" && !o.AllowPlainHTTP:
		return nil, refusal.New(refusal.SourceInsecure, "bundles at %q", u.Redacted())
	}
	u.Fragment = ""
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	if o.Attempts <= 0 {
		o.Attempts = 4
	}
	if o.Wait == nil {
		o.Wait = wait
	}
	if o.TLS == nil {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	h := &HTTP{base: u, options: o, transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: o.TLS, ForceAttemptHTTP2: true,
		DisableCompression:    true, // what is compared and bounded is what is sent
		ResponseHeaderTimeout: o.Timeout, TLSHandshakeTimeout: o.Timeout, MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns: 4, IdleConnTimeout: 30 * time.Second,
	}}
	h.client = &http.Client{Transport: h.transport, CheckRedirect: sameOrigin}
	return h, nil
}

// sameOrigin follows redirects within the server only: another one was not chosen by the operator.
func sameOrigin(next *http.Request, via []*http.Request) error {
	first := via[0].URL
	if next.URL.Scheme != first.Scheme || next.URL.Host != first.Host {
		return refusal.New(refusal.SourceRedirect, "%s redirects to %s", first.Redacted(), next.URL.Redacted())
	}
	if len(via) > maxRedirects {
		return refusal.New(refusal.SourceRedirect, "%s redirects more than %d times", first.Redacted(), maxRedirects)
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Close ends connections that are kept.
func (h *HTTP) Close() error {
	h.transport.CloseIdleConnections()
	return nil
}

// Fetch asks the server; an archive in the cache with the wanted digest needs no question. A server that does not
// answer, or answers with an error of its own, is asked again; when that is of no use, the archive comes from the
// cache, if it is there, with Stale set.
func (h *HTTP) Fetch(ctx context.Context, name, sha256 string) (Fetched, error) {
	names, err := candidates(name)
	if err != nil {
		return Fetched{}, err
	}
	var out Fetched
	for _, n := range names {
		if out, err = h.archive(ctx, n, sha256); refusal.CodeOf(err) != refusal.SourceMissing {
			break
		}
	}
	return out, err
}

func (h *HTTP) archive(ctx context.Context, name, sha256 string) (Fetched, error) {
	u := h.base.JoinPath(name)
	out := Fetched{Origin: u.Redacted(), PlainHTTP: u.Scheme == "http"}
	var zip, beside answer
	var err error
	var cached bool
	if sha256 != "" {
		zip.data, cached = h.options.Cache.get(sha256, h.options.Limits.Archive)
	}
	if !cached {
		if zip, err = h.get(ctx, u, h.options.Limits.Archive); err != nil {
			return Fetched{}, err
		}
	}
	if err := checkDigest(zip.data, sha256); err != nil {
		return Fetched{}, err
	}
	out.Archive, out.Stale = zip.data, zip.stale
	out.keep = func() error { return errors.Join(h.keep(zip), h.keep(beside)) }
	if archive.IsCanonical(out.Archive) {
		return out, nil // has its signatures inside
	}
	beside, err = h.get(ctx, h.base.JoinPath(name+adoptionSuffix), h.options.Limits.Adoption)
	stale := beside.stale
	switch code := refusal.CodeOf(err); {
	case code == refusal.SourceMissing:
		err = nil
	case (cached || out.Stale != nil) && (code == refusal.SourceFailed || code == refusal.SourceStatus):
		// Whether it had one, nobody can say now. Where one is needed, its absence is refused later.
		stale, err = err, nil
	}
	out.Adoption, out.Stale = beside.data, errors.Join(out.Stale, stale)
	return out, err
}

// Document fetches a file that is no bundle, such as an index, with no suffix but its own and of at most limit bytes.
// Its content is Archive.
func (h *HTTP) Document(ctx context.Context, name string, limit int64) (Fetched, error) {
	u := h.base.JoinPath(name)
	got, err := h.get(ctx, u, limit)
	if err != nil {
		return Fetched{}, err
	}
	return Fetched{
		Archive: got.data, Origin: u.Redacted(), PlainHTTP: u.Scheme == "http", Stale: got.stale, keep: func() error { return h.keep(got) },
	}, nil
}

// An answer is what a URL gives, or gave last when stale says why it gives nothing now. fresh is what is to be remembered
// of it; nil when that is known.
type answer struct {
	data  []byte
	stale error
	fresh *remembered
}

func (h *HTTP) keep(a answer) error {
	if a.fresh == nil {
		return nil
	}
	return h.options.Cache.put(*a.fresh, a.data)
}

func (h *HTTP) get(ctx context.Context, u *url.URL, limit int64) (answer, error) {
	last, old, known := h.options.Cache.recall(u.Redacted(), limit)
	var out answer
	var err error
	pause := firstWait
	for attempt := 1; ; attempt++ {
		var again bool
		out, again, err = h.try(ctx, u, limit, last, old, known)
		if err == nil || !again || attempt == h.options.Attempts || ctx.Err() != nil {
			break
		}
		if waited := h.options.Wait(ctx, pause); waited != nil {
			break
		}
		pause = min(2*pause, longestWait)
	}
	code := refusal.CodeOf(err)
	if known && (code == refusal.SourceFailed || code == refusal.SourceStatus) && ctx.Err() == nil {
		return answer{data: old, stale: err}, nil
	}
	return out, err
}

// try asks once; again is whether another attempt may help.
func (h *HTTP) try(ctx context.Context, u *url.URL, limit int64, last remembered, old []byte, known bool) (out answer, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.options.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return out, false, err
	}
	if known && last.ETag != "" {
		request.Header.Set("If-None-Match", last.ETag)
	} else if known && last.LastModified != "" {
		request.Header.Set("If-Modified-Since", last.LastModified)
	}
	response, err := h.client.Do(request)
	if r, ok := errors.AsType[*refusal.Error](err); ok {
		return out, false, r
	}
	if err != nil {
		return out, true, refusal.New(refusal.SourceFailed, "%s: %w", u.Redacted(), unwrapURL(err))
	}
	defer response.Body.Close()
	switch code := response.StatusCode; {
	case code == http.StatusNotModified && known:
		return answer{data: old}, false, nil
	case code == http.StatusNotFound || code == http.StatusGone || code == http.StatusForbidden: // as S3 says it
		return out, false, refusal.New(refusal.SourceMissing, "%s answers %d", u.Redacted(), code)
	case code != http.StatusOK:
		again = code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout
		return out, again, refusal.New(refusal.SourceStatus, "%s answers %d", u.Redacted(), code)
	}
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return out, false, refusal.New(refusal.SourceStatus, "%s answers in the encoding %.20q, which was not asked for", u.Redacted(), encoding)
	}
	out.data, err = readAll(response.Body, u.Redacted(), response.ContentLength, limit)
	if err != nil {
		if refusal.CodeOf(err) != refusal.Internal {
			return answer{}, false, err
		}
		return answer{}, true, refusal.New(refusal.SourceFailed, "%s: %w", u.Redacted(), err)
	}
	// Without the password: what is remembered is on disk.
	out.fresh = &remembered{URL: u.Redacted(), ETag: header(response, "ETag"), LastModified: header(response, "Last-Modified")}
	return out, false, nil
}

// header is a header's value, unless it is too long to be kept.
func header(response *http.Response, name string) string {
	if v := response.Header.Get(name); len(v) <= 256 {
		return v
	}
	return ""
}

// unwrapURL drops the URL that net/http puts before its errors: with user and password in it.
func unwrapURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		if errors.Is(u.Err, io.EOF) {
			return fmt.Errorf("the server closed the connection: %w", u.Err)
		}
		return u.Err
	}
	return err
}
