package storehttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// Client is a plugin's side of a loan, for scripts that run in a process of their own. It is safe for concurrent use. What
// a [script.Store] does not need it cannot do.
type Client struct {
	http  *http.Client
	token string
}

// NewClient returns a client of the loan that the environment names; nil when it names none.
func NewClient(getenv func(string) string) *Client {
	path, found := strings.CutPrefix(getenv(EnvAddress), "unix:")
	if !found {
		return nil
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
		MaxIdleConnsPerHost: 64, IdleConnTimeout: idleTime / 2, DisableCompression: true,
	}
	return &Client{&http.Client{Transport: transport}, getenv(EnvToken)}
}

// Close lets go of connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Store is the store of a script of that name.
func (c *Client) Store(name string) *script.Store {
	return script.NewStore(func() (script.Storage, error) { return &entries{c, script.StorePrefix(name)}, nil }, name, nil)
}

// entries are a client's, under the keys that a script's store gives them.
type entries struct {
	c      *Client
	prefix string
}

var (
	_ script.Storage = (*entries)(nil)
	_ store.Reader   = (*entries)(nil)
)

// reply is one, read.
type reply struct {
	status int
	ttl    string
	body   []byte
}

// ask sends a request; what is not one of the statuses that are good is an error.
func (e *entries) ask(ctx context.Context, method, key, query string, body []byte, good ...int) (*reply, error) {
	target := "http://store" + entriesPath + url.PathEscape(strings.TrimPrefix(key, e.prefix)) + query
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+e.c.token)
	got, err := e.c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	text, err := io.ReadAll(io.LimitReader(got.Body, script.MaxStoreValue+1))
	if err := errors.Join(err, got.Body.Close()); err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	for _, status := range good {
		if got.StatusCode == status {
			return &reply{status, got.Header.Get(ttlHeader), text}, nil
		}
	}
	why := strings.TrimSpace(string(text))
	switch got.StatusCode {
	case http.StatusNotFound:
		return nil, store.ErrNotFound
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return nil, fmt.Errorf("%w: %s", store.ErrEntry, why)
	case http.StatusConflict:
		return nil, fmt.Errorf("%w: %s", store.ErrNumber, why)
	}
	return nil, fmt.Errorf("%w: %s", store.ErrUnavailable, why)
}

// Get implements [store.Reader].
func (e *entries) Get(ctx context.Context, key string) (store.Entry, error) {
	r, err := e.ask(ctx, http.MethodGet, key, "", nil, http.StatusOK)
	if err != nil {
		return store.Entry{}, err
	}
	entry := store.Entry{Value: r.body}
	if left, err := strconv.ParseInt(r.ttl, 10, 64); err == nil && left >= 0 {
		entry.Expires = time.Now().Add(time.Duration(left) * time.Second)
	}
	return entry, nil
}

// Apply implements [store.Writer], but that each change is made by itself.
func (e *entries) Apply(ctx context.Context, writes ...store.Write) error {
	for i := range writes {
		w := &writes[i]
		method, query := http.MethodPut, "?ttl="+lasting(w.Entry.Expires)
		if w.Delete {
			method, query = http.MethodDelete, ""
		}
		if _, err := e.ask(ctx, method, w.Key, query, w.Entry.Value, http.StatusNoContent); err != nil {
			return err
		}
	}
	return nil
}

// PutNew implements [store.Writer].
func (e *entries) PutNew(ctx context.Context, key string, entry store.Entry) (bool, error) {
	r, err := e.ask(ctx, http.MethodPut, key, "?new=1&ttl="+lasting(entry.Expires), entry.Value, http.StatusNoContent, http.StatusConflict)
	return err == nil && r.status == http.StatusNoContent, err
}

// Add implements [store.Writer].
func (e *entries) Add(ctx context.Context, key string, delta int64, expires time.Time) (int64, error) {
	r, err := e.ask(ctx, http.MethodPost, key, "?incr="+strconv.FormatInt(delta, 10)+"&ttl="+lasting(expires), nil, http.StatusOK)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(r.body), 10, 64)
}

// lasting is the time to live until then, in whole seconds, rounded up.
func lasting(expires time.Time) string {
	if expires.IsZero() {
		return "0"
	}
	return strconv.FormatInt(max(1, int64((time.Until(expires)+time.Second-1)/time.Second)), 10)
}

var errUnsupported = errors.New("plugins cannot do that with the store")

// Many implements [store.Reader] and is not supported.
func (*entries) Many(context.Context, []string) ([]store.Entry, error) { return nil, errUnsupported }

// List implements [store.Reader] and is not supported.
func (*entries) List(context.Context, string, string, int) (store.Page, error) {
	return store.Page{}, errUnsupported
}

// Update implements [store.Writer] and is not supported.
func (*entries) Update(context.Context, string, func(*store.Entry) (*store.Entry, error)) error {
	return errUnsupported
}
