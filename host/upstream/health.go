package upstream

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// check starts the health checks of every target; they end with ctx.
func (u *Upstream) check(ctx context.Context) {
	if u.o.Health.Interval <= 0 {
		return
	}
	for _, t := range u.targets {
		u.health.Go(func() { u.watch(ctx, t) })
	}
}

// watch asks one target again and again. The first time is a random part of the interval away, so that many gateways
// do not ask at once.
func (u *Upstream) watch(ctx context.Context, t *target) {
	client := u.checker(t)
	defer client.CloseIdleConnections()
	h := &u.o.Health
	timer := time.NewTimer(rand.N(h.Interval))
	defer timer.Stop()
	streak := 0 // results in a row that speak against the present verdict
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := u.ask(ctx, client, t)
		if ctx.Err() != nil {
			return
		}
		timer.Reset(h.Interval)
		sick := t.sick.Load()
		if (err != nil) == sick {
			streak = 0
			continue
		}
		if streak++; sick && streak < h.Healthy || !sick && streak < h.Unhealthy {
			continue
		}
		streak = 0
		u.verdict(t, err)
	}
}

// verdict takes the target down because of err, or brings it up. A target that is well again is no longer ejected.
func (u *Upstream) verdict(t *target, err error) {
	t.mu.Lock()
	if err != nil {
		t.last, t.at = err, time.Now()
	} else {
		t.failures.Store(0)
		t.until.Store(0)
		t.times = 0
	}
	t.sick.Store(err != nil)
	t.mu.Unlock()
	u.notify(Event{Up: err == nil, Target: t.Name, Active: true, Err: err})
}

// checker is a client of its own, so that a check shows whether a new connection works.
func (u *Upstream) checker(t *target) *http.Client {
	d := &outbound.Dialer{Target: &t.Target, TLS: u.o.TLS}
	var protocols http.Protocols
	var config *tls.Config
	switch {
	case t.TLS && u.o.Protocol != HTTP1:
		config = d.Config("h2", "http/1.1")
		protocols.SetHTTP1(true)
		protocols.SetHTTP2(true)
	case !t.TLS && (u.o.Protocol == H2C || u.o.Protocol == HTTP2):
		protocols.SetUnencryptedHTTP2(true)
	default:
		config = d.Config("http/1.1")
		protocols.SetHTTP1(true)
	}
	return &http.Client{
		Timeout: u.o.Health.Timeout,
		Transport: &http.Transport{
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.Dial(ctx, nil) },
			TLSClientConfig:   config,
			Protocols:         &protocols,
			DisableKeepAlives: true, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// ask checks the target once.
func (u *Upstream) ask(ctx context.Context, client *http.Client, t *target) error {
	h := &u.o.Health
	var body io.Reader
	if h.Body != "" {
		body = strings.NewReader(h.Body)
	}
	r, err := http.NewRequestWithContext(ctx, h.Method, t.Scheme()+"://"+t.Host+h.Path, body)
	if err != nil {
		return fmt.Errorf("health check: %w", err)
	}
	for _, f := range h.Header {
		if sdk.EqualFold(f.Name, "Host") {
			r.Host = f.Value
		} else {
			r.Header.Add(f.Name, f.Value)
		}
	}
	reply, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("health check: %w", err)
	}
	io.Copy(io.Discard, io.LimitReader(reply.Body, 64<<10))
	reply.Body.Close()
	if len(h.Status) > 0 && !slices.Contains(h.Status, reply.StatusCode) || len(h.Status) == 0 && reply.StatusCode/100 != 2 {
		return fmt.Errorf("health check: %s %s answered %d", h.Method, h.Path, reply.StatusCode)
	}
	return nil
}
