package router

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// MaxBody bounds bodies of routes that do not say.
const MaxBody = 1 << 20

// Options of a handler. Secret, Routes, Log and Tell are required.
type Options struct {
	Secret string
	Tokens map[string]config.AdminToken // by the names that the log tells
	Routes Table
	Log    *slog.Logger
	// Audit takes the line that tells of each request; nil: Log.
	Audit *slog.Logger
	// PlainKeys says that the ids of keys may be the keys themselves.
	PlainKeys bool
	// Tell says how an error is told.
	Tell func(err error) (status int, body Said)
}

// Handler guards and serves a table of routes. It is safe for concurrent use.
type Handler struct {
	o           Options
	credentials []credential
}

// New returns a handler.
func New(o Options) *Handler {
	o.Audit = cmp.Or(o.Audit, o.Log)
	return &Handler{o: o, credentials: credentials(o.Secret, o.Tokens)}
}

// credential is one that lets in, and who has it.
type credential struct {
	name string
	sum  [sha256.Size]byte
	role config.AdminRole
}

// secretName is who has the one secret.
const secretName = "admin.secret"

func credentials(secret string, tokens map[string]config.AdminToken) []credential {
	all := []credential{{secretName, sha256.Sum256([]byte(secret)), config.RoleWrite}}
	for name, t := range tokens {
		all = append(all, credential{name, sha256.Sum256([]byte(t.Token)), t.Role})
	}
	slices.SortFunc(all[1:], func(a, b credential) int { return cmp.Compare(a.name, b.name) })
	return all
}

// who returns the credential of a request, nil when it has none that is known. Either header will do: the other may be for
// somebody on the way.
func (h *Handler) who(r *http.Request) *credential {
	bearer := ""
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		bearer = strings.TrimLeft(token, " ")
	}
	return cmp.Or(h.has(bearer), h.has(r.Header.Get("X-Tyk-Authorization")))
}

// has returns the credential that was given. Digests are compared, every one of them and each in constant time, so that
// neither length nor content of a secret shows.
func (h *Handler) has(given string) *credential {
	sum := sha256.Sum256([]byte(given))
	found := -1
	for i := range h.credentials {
		same := subtle.ConstantTimeCompare(sum[:], h.credentials[i].sum[:])
		found = subtle.ConstantTimeSelect(same, i, found)
	}
	if found < 0 || given == "" {
		return nil
	}
	return &h.credentials[found]
}

const denied = "Attempted administrative access with invalid or missing key!"

// ServeHTTP answers a request. Who has no credential learns nothing: not what paths there are, nor what they take.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found, vars, allowed := h.o.Routes.Find(r.Method, r.URL.EscapedPath())
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	c := &Call{Request: r, W: rec, Vars: vars, route: found}
	if found != nil && found.Access == Open {
		h.serve(c, rec)
		return
	}
	who := h.who(r)
	defer func() {
		outcome := recover()
		if outcome != nil && outcome != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
			rec.status = http.StatusInternalServerError
		}
		h.audit(c, who, rec, outcome != nil)
		if outcome != nil {
			panic(outcome) // net/http's affair: it cuts the connection
		}
	}()
	switch {
	case who == nil:
		refuse(rec, http.StatusForbidden, denied)
	case found == nil && len(allowed) > 0:
		rec.Header().Set("Allow", strings.Join(allowed, ", "))
		refuse(rec, http.StatusMethodNotAllowed, "Method not supported: this path takes "+strings.Join(allowed, ", "))
	case found == nil:
		refuse(rec, http.StatusNotFound, "there is no such path in the control API: GET /v1/openapi.json lists those that there are")
	case found.Access == Writes && who.role != config.RoleWrite:
		refuse(rec, http.StatusForbidden, "the token "+who.name+" has the role read, and this takes one with the role write, or the secret")
	default:
		h.serve(c, rec)
	}
}

// serve runs a route, and writes the reply to an error, or cuts a reply that has begun: half of one must not pass for a whole.
func (h *Handler) serve(c *Call, w *recorder) {
	c.Body = http.MaxBytesReader(w, c.Body, cmp.Or(c.route.MaxBody, MaxBody))
	err := c.route.Serve(c)
	if err == nil {
		return
	}
	if w.begun {
		h.o.Log.Warn("control request: the reply was cut", "path", c.route.Path, "error", err.Error())
		panic(http.ErrAbortHandler)
	}
	status, body := h.o.Tell(err)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	Reply(w, status, body)
}

// audit writes who asked for what, and what came of it. Keys are named by their hash, and what a path that is not ours
// holds is not told: it may be a key.
func (h *Handler) audit(c *Call, who *credential, rec *recorder, cut bool) {
	name, path := "nobody", "unknown"
	if who != nil {
		name = who.name
	}
	var about []any
	if c.route != nil {
		path = c.route.Path
		for _, variable := range slices.Sorted(maps.Keys(c.Vars)) {
			value := c.Vars[variable]
			if variable == "key" {
				// What is said to be an id is one when it was found; else it may be a token, by mistake.
				value = HashKey(value, c.Flag("hashed") && !h.o.PlainKeys && rec.status < http.StatusMultipleChoices)
			}
			about = append(about, variable, value)
		}
	}
	args := append([]any{"who", name, "method", c.Method, "path", path, "peer", c.RemoteAddr, "status", rec.status}, append(about, c.about...)...)
	if cut {
		args = append(args, "cut", true)
	}
	level := slog.LevelInfo
	if rec.status == http.StatusForbidden {
		level = slog.LevelWarn
	}
	h.o.Audit.Log(c.Context(), level, "control request", args...)
}

// HashKey names a key without telling it: by the digest that access logs have too, or by its id where that is a digest already.
func HashKey(key string, isID bool) string {
	if _, err := hex.DecodeString(key); isID && err == nil && len(key) >= 8 {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// recorder remembers the status of a reply.
type recorder struct {
	http.ResponseWriter
	status int
	begun  bool
}

// WriteHeader is http.ResponseWriter's.
func (r *recorder) WriteHeader(status int) {
	if !r.begun {
		r.status, r.begun = status, true
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write is http.ResponseWriter's.
func (r *recorder) Write(p []byte) (int, error) {
	r.begun = true
	return r.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
