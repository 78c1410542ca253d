package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// A step is one request of the demo and what its reply must show.
type step struct {
	title, why    string
	pluginStopped bool // while the request is sent
	path          string
	token         string   // bearer token; empty: none
	status        int      // of the reply
	header        string   // "Name: value" the reply must have; empty: any
	body          []string // parts of the reply's body
}

func steps() []step {
	return []step{
		{
			title: "A request through all the hooks",
			why:   "pre marks it, auth knows the token, post_key_auth names the caller, post takes /v1 off, response signs the reply",
			path:  "/shop/v1/books", token: "ada-token", status: http.StatusOK, header: "X-Shop-Doorman: 1.0.0",
			body: []string{`"path":"/books"`, `"caller":"ada"`, `"token":false`, `"plan":"gold"`},
		},
		{
			title: "Refused by the auth hook",
			why:   "nobody knows this token",
			path:  "/shop/v1/books", token: "stolen-token", status: http.StatusForbidden, body: []string{"unknown token"},
		},
		{
			title: "Answered by a hook",
			why:   "the pre hook knows the answer; the upstream is not asked",
			path:  "/shop/healthz", status: http.StatusOK, body: []string{`{"status":"ok"}`},
		},
		{
			title: "With the plugin server stopped",
			why:   "nothing passes unchecked",
			path:  "/shop/v1/books", token: "ada-token", status: http.StatusServiceUnavailable, body: []string{"unavailable"},
			pluginStopped: true,
		},
	}
}

// curl is the step as a command line.
func (s step) curl(base string) string {
	if s.token == "" {
		return "curl -i " + base + s.path
	}
	return fmt.Sprintf("curl -i -H 'Authorization: Bearer %s' %s%s", s.token, base, s.path)
}

// ask sends the step's request, straight and on a connection of its own, as curl would.
func (s step) ask(ctx context.Context, base string) (*http.Response, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+s.path, nil)
	if err != nil {
		return nil, "", err
	}
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	reply, err := transport.RoundTrip(request)
	if err != nil {
		return nil, "", fmt.Errorf("%s%s: %w", base, s.path, err)
	}
	body, err := io.ReadAll(reply.Body)
	return reply, string(body), errors.Join(err, reply.Body.Close())
}

// check says what is wrong with a reply.
func (s step) check(reply *http.Response, body string) error {
	var wrong []string
	if reply.StatusCode != s.status {
		wrong = append(wrong, fmt.Sprintf("status %d, want %d", reply.StatusCode, s.status))
	}
	if name, value, ok := strings.Cut(s.header, ": "); ok && reply.Header.Get(name) != value {
		wrong = append(wrong, fmt.Sprintf("%s is %q, want %q", name, reply.Header.Get(name), value))
	}
	for _, part := range s.body {
		if !strings.Contains(body, part) {
			wrong = append(wrong, "the body has no "+part)
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("wrong reply to %s: %s", s.path, strings.Join(wrong, "; "))
	}
	return nil
}
