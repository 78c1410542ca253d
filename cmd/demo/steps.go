package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// A step is one request of the demo and what its reply must show.
type step struct {
	title  string
	path   string
	token  string   // bearer token; empty: none
	status int      // of the reply
	header string   // "Name: value" the reply must have; empty: any
	body   []string // parts of the reply's body
}

// steps is the demo while the plugin server runs.
func steps() []step {
	return []step{
		{
			title: "Through every hook: welcomed, let in, tagged, rewritten; the reply signed",
			path:  "/shop/v1/books", token: "ada-token", status: http.StatusOK,
			header: "X-Shop-Doorman: 1.0.0", body: []string{`"path":"/books"`, `"caller":"ada"`, `"plan":"gold"`},
		},
		{
			title: "Refused by the auth hook: nobody knows this token",
			path:  "/shop/v1/books", token: "stolen", status: http.StatusForbidden, body: []string{"unknown token"},
		},
		{
			title: "Answered by a hook: the upstream is not asked",
			path:  "/shop/healthz", status: http.StatusOK, body: []string{`{"status":"ok"}`},
		},
	}
}

// stopped is the demo while the plugin server is stopped: no request passes unchecked.
func stopped() step {
	return step{
		title: "The plugin server is stopped: nothing passes unchecked",
		path:  "/shop/v1/books", token: "ada-token", status: http.StatusServiceUnavailable,
	}
}

// curl is the step as a command line.
func (s step) curl(base string) string {
	if s.token == "" {
		return "curl -i " + base + s.path
	}
	return fmt.Sprintf("curl -i -H 'Authorization: Bearer %s' %s%s", s.token, base, s.path)
}

// ask sends the step's request.
func (s step) ask(ctx context.Context, base string) (*http.Response, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+s.path, nil)
	if err != nil {
		return nil, "", err
	}
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, "", err
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

// show runs a step and prints it the way curl -i would.
func (s step) show(ctx context.Context, base string, w io.Writer) error {
	fmt.Fprintf(w, "\n# %s\n$ %s\n", s.title, s.curl(base))
	reply, body, err := s.ask(ctx, base)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s %s\n", reply.Proto, reply.Status)
	var names []string
	for name := range reply.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range reply.Header[name] {
			fmt.Fprintf(w, "%s: %s\n", name, value)
		}
	}
	fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(body))
	return s.check(reply, body)
}
