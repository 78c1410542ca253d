package script

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// HopHeader counts, in requests that scripts make, how many scripts called one another to make it, so that a script that
// calls its own route comes to an end.
const HopHeader = "X-Turnbuckle-Script-Hops"

// HTTPLimits bound the requests that scripts make. The zero value of each field takes its default.
type HTTPLimits struct {
	Timeout time.Duration // of one request, body included, at most. 10 s
	Body    int64         // bytes of a reply's body; more is an error. 4 MiB
	Hops    int           // how many scripts may call one another. 4
}

// Doer sends requests, as *http.Client does.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// HTTP makes requests for scripts. It is safe for concurrent use.
type HTTP struct {
	doer   Doer
	limits HTTPLimits
}

// NewHTTP returns a client that sends by d.
func NewHTTP(d Doer, l HTTPLimits) *HTTP {
	l.Timeout = cmp.Or(max(l.Timeout, 0), 10*time.Second)
	l.Body = cmp.Or(max(l.Body, 0), 4<<20)
	l.Hops = cmp.Or(max(l.Hops, 0), 4)
	return &HTTP{d, l}
}

// HTTPRequest is a request that a script makes.
type HTTPRequest struct {
	Method  string // GET by default
	URL     string // absolute, http or https
	Header  []sdk.Field
	Body    []byte
	Timeout time.Duration // 0: the limit's
}

// HTTPReply is the reply to one.
type HTTPReply struct {
	Status int
	Header []sdk.Field // by names in order of the alphabet, the values of each in theirs
	Body   []byte
}

// Do makes a request on behalf of the exchange with that request header; of an event, nil. It ends with ctx.
func (h *HTTP) Do(ctx context.Context, by *sdk.Header, r HTTPRequest) (*HTTPReply, error) {
	hops := 1 + hopsOf(by)
	if hops > h.limits.Hops {
		return nil, fmt.Errorf("%s %s: %w: %d times already", cmp.Or(r.Method, "GET"), r.URL, ErrLoop, hops-1)
	}
	timeout := h.limits.Timeout
	if r.Timeout > 0 {
		timeout = min(timeout, r.Timeout)
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(bounded, cmp.Or(r.Method, "GET"), r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	if s := request.URL.Scheme; s != "http" && s != "https" || request.URL.Host == "" {
		return nil, fmt.Errorf("%q is no http or https address", r.URL)
	}
	for _, f := range r.Header {
		if !sdk.ValidToken(f.Name) || !sdk.ValidFieldValue(f.Value) {
			return nil, fmt.Errorf("invalid header %q: %q (RFC 9110 §5)", f.Name, f.Value)
		}
		if sdk.EqualFold(f.Name, "Host") {
			request.Host = f.Value
			continue
		}
		request.Header.Add(f.Name, f.Value)
	}
	request.Header.Set(HopHeader, strconv.Itoa(hops))
	reply, err := h.doer.Do(request)
	if err != nil {
		return nil, own(ctx, fmt.Errorf("%s %s: %w", request.Method, r.URL, err))
	}
	defer func() { _ = reply.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(reply.Body, h.limits.Body+1))
	switch {
	case err != nil:
		return nil, own(ctx, fmt.Errorf("%s %s: reading the reply: %w", request.Method, r.URL, err))
	case int64(len(body)) > h.limits.Body:
		return nil, fmt.Errorf("%s %s: %w: the reply has more than %d bytes", request.Method, r.URL, sdk.ErrTooLarge, h.limits.Body)
	}
	return &HTTPReply{Status: reply.StatusCode, Header: fields(reply.Header), Body: body}, nil
}

// own keeps a timeout of the request's own from looking like one of the call.
func own(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return errors.New(err.Error())
	}
	return err
}

// hopsOf reads the count of a request. One that cannot be read comes from nobody of ours and counts as none.
func hopsOf(by *sdk.Header) int {
	if by == nil {
		return 0
	}
	text := by.Get(HopHeader)
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil && errors.Is(err, strconv.ErrRange) {
		return 1 << 16
	}
	return int(n)
}

func fields(h http.Header) []sdk.Field {
	var all []sdk.Field
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			all = append(all, sdk.Field{Name: name, Value: v})
		}
	}
	return all
}
