package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/peers"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/plugins"
)

// verify checks that a gateway which answers does what its rows are to measure.
func verify(ctx context.Context, f *fixture, s setup) error {
	if !s.guarded() {
		return nil
	}
	if err := refuses(ctx, f.url); err != nil {
		return err
	}
	if s.definition != "extractor" {
		return nil
	}
	before, err := readCounters(ctx, f.admin)
	if err != nil {
		return err
	}
	if err := answers(f.url, f.credential, s)(ctx); err != nil {
		return err
	}
	after, err := readCounters(ctx, f.admin)
	if err == nil && after.calls > before.calls {
		return fmt.Errorf("%s: the auth hook is called although its session is kept", f.url)
	}
	return err
}

// answers is a Ready: the URL gives the upstream's reply, and shows that the hook ran if it should have, and that a quota
// was counted if one should be.
func answers(url, credential string, s setup) func(context.Context) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", credential)
		reply, err := client.Do(request)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(reply.Body)
		err = errors.Join(err, reply.Body.Close())
		switch {
		case err != nil:
			return err
		case reply.StatusCode != http.StatusOK || string(body) != s.body():
			return fmt.Errorf("%s answers %d %.100q", url, reply.StatusCode, body)
		case s.hooked() != (reply.Header.Get(plugins.BenchHeader) == "1"):
			return fmt.Errorf("%s: the hook ran: %t, want %t", url, !s.hooked(), s.hooked())
		case s.limited() != counted(reply.Header):
			return fmt.Errorf("%s: a quota was counted: %t, want %t", url, !s.limited(), s.limited())
		}
		return nil
	}
}

// counted reports whether a reply tells a quota. Classic APIs without any say 0.
func counted(h http.Header) bool {
	left := h.Get("X-RateLimit-Remaining")
	return left != "" && left != "0"
}

// body is what clients get: the upstream's, or what the scripts in testdata make of it.
func (s setup) body() string {
	if s.rewritten() {
		return strings.Replace(peers.Body(), "turnbuckle", "rewritten!", 1)
	}
	return peers.Body()
}

// refuses checks that a request without credentials does not pass.
func refuses(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	switch reply.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusBadRequest: // the last is an extractor's
		return nil
	}
	return fmt.Errorf("%s answers %d to a request without credentials, want 401, 403 or 400", url, reply.StatusCode)
}
