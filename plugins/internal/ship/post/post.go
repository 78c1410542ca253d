// Package post is the sink that sends batches by HTTP: one POST for each, which a status in the 200s says has arrived.
package post

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
)

// Options say where a sink posts, and how.
type Options struct {
	URL string
	// Header is sent with each request; Content-Type belongs in it.
	Header http.Header
	// Open, Between and Close stand before, between and behind the bodies of the items.
	Open, Between, Close string
	// Insert stands in each body, which is a JSON object, behind its brace.
	Insert string
	// Gzip compresses (RFC 1952).
	Gzip bool
	// CAFile holds PEM roots in place of the system's.
	CAFile string
}

// Sink posts batches. It implements [ship.Sink].
type Sink struct {
	o      Options
	client *http.Client
	body   bytes.Buffer
	zip    *gzip.Writer
}

var _ ship.Sink = (*Sink)(nil)

// maxReply is how much of a reply is read: enough for what a service has to say against a request.
const maxReply = 4 << 10

// Check reports what is wrong with options, without connecting.
func Check(o *Options) error {
	u, err := url.Parse(o.URL)
	if err != nil {
		return fmt.Errorf("url: %w", errors.Unwrap(err)) // without the URL, which may hold a token
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("url: must begin with https:// or http:// and name a host")
	}
	return nil
}

// New makes a sink.
func New(o Options) (*Sink, error) {
	if err := Check(&o); err != nil {
		return nil, err
	}
	c, err := ship.Secured(o.CAFile)
	if err != nil {
		return nil, err
	}
	s := &Sink{o: o, client: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: c, ForceAttemptHTTP2: true, MaxIdleConns: 2,
			IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10,
			WriteBufferSize: 64 << 10, // a batch is 20 KiB as a rule: one system call
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if o.Gzip {
		s.zip, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // which is a level
	}
	return s, nil
}

// Close implements [ship.Sink].
func (s *Sink) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// Send implements [ship.Sink].
func (s *Sink) Send(ctx context.Context, items []ship.Item) (int, error) {
	if err := s.encode(items); err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.o.URL, bytes.NewReader(s.body.Bytes()))
	if err != nil {
		return 0, err
	}
	request.Header = s.o.Header.Clone()
	if s.zip != nil {
		request.Header.Set("Content-Encoding", "gzip")
	}
	reply, err := s.client.Do(request)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the URL, which may hold a token
		}
		return 0, err
	}
	text, err := io.ReadAll(io.LimitReader(reply.Body, maxReply))
	_ = reply.Body.Close() // it was read, or is of no use
	if err != nil {
		return 0, fmt.Errorf("the reply with status %d: %w", reply.StatusCode, err)
	}
	return 0, judge(reply, text)
}

func (s *Sink) encode(items []ship.Item) error {
	s.body.Reset()
	var w io.Writer = &s.body
	if s.zip != nil {
		s.zip.Reset(&s.body)
		w = s.zip
	}
	between := []byte(s.o.Open)
	for i := range items {
		body := items[i].Body
		if s.o.Insert != "" {
			between, body = append(append(between, '{'), s.o.Insert...), body[1:]
		}
		for _, p := range [][]byte{between, body} {
			if _, err := w.Write(p); err != nil {
				return err
			}
		}
		between = append(between[:0], s.o.Between...)
	}
	if _, err := io.WriteString(w, s.o.Close); err != nil {
		return err
	}
	if s.zip != nil {
		return s.zip.Close()
	}
	return nil
}

// judge says what a reply means. What a wrong token or address is answered with is no reason to drop anything: it is put
// right one day.
func judge(reply *http.Response, text []byte) error {
	code := reply.StatusCode
	if code >= 200 && code < 300 {
		return nil
	}
	err := fmt.Errorf("status %d", code)
	if said := strings.Join(strings.Fields(strings.ToValidUTF8(string(text), "")), " "); said != "" {
		const enough = 200
		err = fmt.Errorf("status %d: %.*s", code, enough, said)
	}
	switch code {
	case http.StatusRequestEntityTooLarge:
		return ship.TooLarge(err)
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusUnsupportedMediaType:
		return ship.Reject(0, err)
	}
	if after := RetryAfter(reply.Header, time.Now()); after > 0 {
		return ship.RetryAfter(after, err)
	}
	return err
}

// RetryAfter reads the field of that name (RFC 9110 §10.2.3), seconds or a date; 0 when there is none.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
