package pluginrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// request is one that --request asks for.
type request struct {
	method, target string
	header         []sdk.Field
	body           []byte
}

// parse reads the flags that say what to send.
func (o *options) parse() ([]request, error) {
	if len(o.requests) == 0 && (len(o.headers) > 0 || o.body != "") {
		return nil, errors.New("--header and --data are about what --request sends: name a request")
	}
	var header []sdk.Field
	for _, h := range o.headers {
		name, value, ok := strings.Cut(h, ":")
		value = strings.TrimSpace(value)
		if !ok || !sdk.ValidToken(name) || !sdk.ValidFieldValue(value) {
			return nil, fmt.Errorf("--header %q: want 'Name: value'", h)
		}
		header = append(header, sdk.Field{Name: name, Value: value})
	}
	body, err := text(o.body)
	if err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	var all []request
	for _, line := range o.requests {
		method, target, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok && strings.HasPrefix(method, "/") {
			method, target = http.MethodGet, method
			if len(body) > 0 {
				method = http.MethodPost
			}
		}
		path, query, _ := strings.Cut(target, "?")
		if !sdk.ValidToken(method) || !strings.HasPrefix(path, "/") || !sdk.ValidPath(path) || !sdk.ValidQuery(query) {
			return nil, fmt.Errorf("--request %q: want a method and a path, as in 'GET /orders?page=2'", line)
		}
		all = append(all, request{strings.ToUpper(method), target, header, body})
	}
	return all, nil
}

// text is what a flag says, or the content of the file that it names behind an @.
func text(flag string) ([]byte, error) {
	if file, ok := strings.CutPrefix(flag, "@"); ok {
		return os.ReadFile(file)
	}
	return []byte(flag), nil
}

// replyTime bounds one request that --request asks for, and maxReply how much of its reply is read.
const (
	replyTime = 30 * time.Second
	maxReply  = 64 << 20
)

// send sends the request to the gateway and reads the reply. What came of it the gateway explains.
func (r *request) send(ctx context.Context, base string) error {
	ctx, cancel := context.WithTimeout(ctx, replyTime)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, r.method, base+r.target, bytes.NewReader(r.body))
	if err != nil {
		return err
	}
	for _, f := range r.header {
		if sdk.EqualFold(f.Name, "Host") {
			q.Host = f.Value
			continue
		}
		q.Header.Add(f.Name, f.Value)
	}
	if q.Header.Get("User-Agent") == "" {
		q.Header.Set("User-Agent", "turnbuckle-plugin-run")
	}
	t := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	defer t.CloseIdleConnections()
	client := http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	reply, err := client.Do(q)
	if err != nil {
		return fmt.Errorf("request %s %s: %w", r.method, r.target, err)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(reply.Body, maxReply))
	return errors.Join(err, reply.Body.Close())
}
