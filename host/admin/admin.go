// Package admin is the control API: what the gateway tells about itself and lets itself be told, over HTTP on a listener
// of its own. Everything but /hello and /ready wants the secret, as "Authorization: Bearer SECRET" or in
// X-Tyk-Authorization. Replies are JSON; refusals say what to change.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host"
)

// Gateway is what the control API asks a gateway.
type Gateway interface {
	Status() host.Status
	Ready() (status int, body []byte)
	Hello() []byte
}

// Options are what the control API is made of.
type Options struct {
	Secret  string // required: there is no control API without one
	Gateway Gateway
	Servers func() any // the state of plugin servers, to be shown as JSON; nil: not offered
	// Reload reads definitions and plugin folders again and returns when they serve. An error that is a
	// *host.RefusedError says that some are refused and the others serve; after any other nothing has changed.
	// nil: not offered.
	Reload  func(ctx context.Context) error
	Metrics http.Handler // nil: not offered
	Log     *slog.Logger // takes an audit line for every request that wants the secret
}

// New returns the handler of the control listener.
func New(o Options) (http.Handler, error) {
	if o.Secret == "" {
		return nil, errors.New("the control listener needs a secret: give --admin-secret-file, --admin-secret or TURNBUCKLE_ADMIN_SECRET")
	}
	a := &api{o: o, secret: sha256.Sum256([]byte(o.Secret))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) { raw(w, 200, o.Gateway.Hello()) })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		status, body := o.Gateway.Ready()
		raw(w, status, body)
	})
	mux.Handle("/", a.guard(a.guarded()))
	return mux, nil
}

type api struct {
	o      Options
	secret [sha256.Size]byte
}

func (a *api) guarded() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/routes", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, a.o.Gateway.Status()) })
	if a.o.Servers != nil {
		mux.HandleFunc("GET /v1/servers", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, a.o.Servers()) })
	}
	if a.o.Reload != nil {
		mux.HandleFunc("POST /v1/reload", a.reload)
		mux.HandleFunc("GET /tyk/reload", a.tykReload)
		mux.HandleFunc("GET /tyk/reload/{$}", a.tykReload)
	}
	if a.o.Metrics != nil {
		mux.Handle("GET /metrics", a.o.Metrics)
	}
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, 404, "there is no "+r.Method+" "+r.URL.Path+" in the control API")
	})
	return mux
}

// guard lets through who knows the secret. It compares digests in constant time, so that neither length nor content of
// the secret shows.
func (a *api) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := r.Header.Get("X-Tyk-Authorization")
		if scheme, bearer, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
			given = strings.TrimLeft(bearer, " ")
		}
		sum := sha256.Sum256([]byte(given))
		if subtle.ConstantTimeCompare(sum[:], a.secret[:]) != 1 {
			a.audit(r, 403)
			refuse(w, 403, "Attempted administrative access with invalid or missing key!")
			return
		}
		rec := &recorder{ResponseWriter: w, status: 200}
		next.ServeHTTP(rec, r)
		a.audit(r, rec.status)
	})
}

func (a *api) audit(r *http.Request, status int) {
	level := slog.LevelInfo
	if r.Method == http.MethodGet && status < 400 {
		level = slog.LevelDebug // scrapes and looks change nothing
	}
	a.o.Log.Log(r.Context(), level, "control request", "method", r.Method, "path", r.URL.Path, "peer", r.RemoteAddr, "status", status)
}

// reloaded is the reply to POST /v1/reload.
type reloaded struct {
	Status  string         `json:"status"` // ok or error
	Message string         `json:"message"`
	Serving int            `json:"serving"` // routes, those among them whose newer definition is refused
	Refused []host.Refusal `json:"refused"`
}

// reload answers 200 when everything serves as the files say, 422 with what is refused when the others serve, 503 when
// the gateway is stopping and 500 when the files cannot be read; after the last two nothing has changed.
func (a *api) reload(w http.ResponseWriter, r *http.Request) {
	err := a.o.Reload(r.Context())
	status, body := 200, reloaded{Status: "ok", Refused: []host.Refusal{}}
	if err != nil {
		status, body.Status, body.Message = 500, "error", "nothing has changed: "+err.Error()
	}
	var refused *host.RefusedError
	switch {
	case errors.As(err, &refused):
		status, body.Refused = 422, refused.Refusals
		body.Message = "some definitions are refused: those that served before go on as they were, the others answer 503"
	case errors.Is(err, host.ErrClosing):
		status = 503
	}
	for _, route := range a.o.Gateway.Status().Routes {
		if route.State != "refused" {
			body.Serving++
		}
	}
	reply(w, status, body)
}

// tykReload answers as Tyk does, which tells nobody here what came of it: /v1/routes and the log do.
func (a *api) tykReload(w http.ResponseWriter, r *http.Request) {
	if err := a.o.Reload(r.Context()); err != nil {
		a.o.Log.Warn("control request: the reload that was asked for as Tyk's changed not all", "error", err.Error())
	}
	reply(w, 200, said{Status: "ok"})
}

// recorder remembers the status of a reply.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// said is the reply of requests that have nothing more to tell.
type said struct {
	Status  string `json:"status"` // ok or error
	Message string `json:"message"`
}

func refuse(w http.ResponseWriter, status int, message string) {
	reply(w, status, said{"error", message})
}

func reply(w http.ResponseWriter, status int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		status, b = 500, []byte(`{"status":"error","message":"the reply could not be written as JSON"}`)
	}
	raw(w, status, append(b, '\n'))
}

func raw(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that left
}
