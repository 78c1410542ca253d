package storehttp

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// The bounds of STORE.md.
const (
	maxTTL       = 10 * 365 * 24 * 60 * 60 // seconds
	maxEvent     = 64 << 10
	maxEventType = 128
	entriesPath  = "/v1/store/"
	eventsPath   = "/v1/events"
	ttlHeader    = "X-Ttl"
)

// handler answers one plugin.
type handler struct {
	*Loan
	plugin string
	store  *script.Store
	event  func(plugin, kind, message string) error
	log    *slog.Logger
}

// refusal is a reply that says what is wrong with the request.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, a ...any) error {
	return &refusal{status, fmt.Sprintf(format, a...)}
}

// routes are not net/http's: a key is one segment of the path as it was sent, with %2F in it.
func (h *handler) routes() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.owned.Add(1) // Close waits for what is under way
		defer h.owned.Done()
		ctx, cancel := context.WithTimeout(r.Context(), requestTime)
		defer cancel()
		if err := h.serve(ctx, w, r); err != nil {
			h.fail(w, err)
		}
	})
}

func (h *handler) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if subtle.ConstantTimeCompare([]byte(token), []byte(h.token)) != 1 {
		return refuse(http.StatusUnauthorized, "the token is not the plugin's: send %s as Authorization: Bearer", EnvToken)
	}
	path := r.URL.EscapedPath()
	if path == eventsPath {
		return h.send(w, r)
	}
	escaped, found := strings.CutPrefix(path, entriesPath)
	if !found || strings.Contains(escaped, "/") {
		return refuse(http.StatusNotFound, "no such path: want %s{key}, its slashes as %%2F, or %s", entriesPath, eventsPath)
	}
	key, err := url.PathUnescape(escaped)
	if err != nil {
		return refuse(http.StatusBadRequest, "%s", err)
	}
	return h.entry(ctx, w, r, key)
}

// entry does what is asked of one entry.
func (h *handler) entry(ctx context.Context, w http.ResponseWriter, r *http.Request, key string) error {
	query := r.URL.Query()
	ttl, err := seconds(query.Get("ttl"))
	if err != nil {
		return err
	}
	switch r.Method {
	case http.MethodGet:
		value, left, ok, err := h.store.Look(ctx, key)
		if err != nil || !ok {
			return missing(ok, err)
		}
		w.Header().Set(ttlHeader, whole(left))
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(value) // who asked has gone
		return nil
	case http.MethodHead:
		left, ok, err := h.store.TTL(ctx, key)
		if err != nil || !ok {
			return missing(ok, err)
		}
		w.Header().Set(ttlHeader, whole(left))
		return nil
	case http.MethodPut:
		return h.put(ctx, w, r, key, ttl, query.Get("new") == "1")
	case http.MethodDelete:
		return done(w, h.store.Delete(ctx, key))
	case http.MethodPost:
		delta, err := strconv.ParseInt(query.Get("incr"), 10, 64)
		if err != nil {
			return refuse(http.StatusBadRequest, "incr=%.40q is no whole number", query.Get("incr"))
		}
		sum, err := h.store.Add(ctx, key, delta, ttl)
		if errors.Is(err, store.ErrNumber) {
			return refuse(http.StatusConflict, "%s", err)
		}
		if err == nil {
			_, _ = io.WriteString(w, strconv.FormatInt(sum, 10)) // who asked has gone
		}
		return err
	}
	w.Header().Set("Allow", "GET, HEAD, PUT, DELETE, POST")
	return refuse(http.StatusMethodNotAllowed, "no such method: %s", r.Method)
}

func (h *handler) put(ctx context.Context, w http.ResponseWriter, r *http.Request, key string, ttl time.Duration, fresh bool) error {
	value, err := body(w, r, script.MaxStoreValue)
	if err != nil {
		return err
	}
	if !fresh {
		return done(w, h.store.Set(ctx, key, value, ttl))
	}
	wrote, err := h.store.SetNew(ctx, key, value, ttl)
	if err == nil && !wrote {
		return refuse(http.StatusConflict, "there is something under the key")
	}
	return done(w, err)
}

// send sends an event.
func (h *handler) send(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		return refuse(http.StatusMethodNotAllowed, "no such method: %s", r.Method)
	}
	text, err := body(w, r, maxEvent)
	if err != nil {
		return err
	}
	var event struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(text, &event); err != nil {
		return refuse(http.StatusBadRequest, "an event is {\"type\": …, \"message\": …}: %s", err)
	}
	if event.Type == "" || len(event.Type) > maxEventType {
		return refuse(http.StatusBadRequest, "the type of an event has 1 to %d bytes, this one %d", maxEventType, len(event.Type))
	}
	if h.event == nil {
		return refuse(http.StatusServiceUnavailable, "events have nowhere to go")
	}
	if err := h.event(h.plugin, event.Type, event.Message); err != nil {
		return refuse(http.StatusServiceUnavailable, "%s", err)
	}
	return done(w, nil)
}

// body reads a body of at most so many bytes.
func body(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, refuse(http.StatusRequestEntityTooLarge, "more than %d bytes", most)
	}
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the body: %s", err)
	}
	return text, nil
}

// seconds reads a time to live; "" is for good.
func seconds(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n > maxTTL {
		return 0, refuse(http.StatusBadRequest, "ttl=%.40q: want whole seconds, at most %d", text, maxTTL)
	}
	return time.Duration(n) * time.Second, nil
}

// whole rounds up to seconds; 0 is for good, -1 as they are told.
func whole(left time.Duration) string {
	if left == 0 {
		return "-1"
	}
	return strconv.FormatInt(int64((left+time.Second-1)/time.Second), 10)
}

func missing(ok bool, err error) error {
	if err == nil && !ok {
		return refuse(http.StatusNotFound, "there is nothing under the key")
	}
	return err
}

func done(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// fail tells the plugin what is wrong, of the storage no more than that it is away.
func (h *handler) fail(w http.ResponseWriter, err error) {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
	case errors.Is(err, script.ErrEntry), errors.Is(err, store.ErrEntry):
		refused = &refusal{http.StatusBadRequest, err.Error()}
	default:
		h.log.Warn("a plugin's use of the store failed", "error", err.Error())
		refused = &refusal{http.StatusServiceUnavailable, "the storage is away"}
	}
	http.Error(w, refused.text, refused.status)
}
