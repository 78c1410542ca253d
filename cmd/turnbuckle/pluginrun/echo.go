package pluginrun

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
	"unicode/utf8"
)

// echo is the sample upstream: it replies with the request that it got, as JSON.
type echo struct {
	url    string
	server *http.Server
	ended  chan error
}

// maxEcho is how much of a body is replied.
const maxEcho = 1 << 20

// newEcho starts one on a free port.
func newEcho(ctx context.Context) (*echo, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &echo{url: "http://" + l.Addr().String(), ended: make(chan error, 1)}
	e.server = &http.Server{Handler: http.HandlerFunc(reflected), ReadHeaderTimeout: 10 * time.Second}
	go func() { e.ended <- e.server.Serve(l) }()
	return e, nil
}

// close ends it.
func (e *echo) close() error {
	err := e.server.Close()
	if ended := <-e.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

func reflected(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxEcho))
	if err != nil {
		http.Error(w, "the body could not be read: "+err.Error(), http.StatusBadRequest)
		return
	}
	is := struct {
		Method string      `json:"method"`
		Path   string      `json:"path"`
		Query  string      `json:"query,omitempty"`
		Host   string      `json:"host"`
		Header http.Header `json:"headers"`
		Body   any         `json:"body,omitempty"`
	}{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Host, r.Header, nil}
	switch {
	case len(body) == 0:
	case utf8.Valid(body):
		is.Body = string(body)
	default:
		is.Body = body // in base64
	}
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	_ = out.Encode(is) // whoever asked may have left
}
