// Package storehttp lends the gateway's store to plugins that run in processes of their own: sdk/python/STORE.md is the
// interface. Each plugin gets a socket and a token, and sees entries of its own alone.
package storehttp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
)

// What a plugin's process finds its store by.
const (
	EnvAddress = "TURNBUCKLE_STORE"
	EnvToken   = "TURNBUCKLE_STORE_TOKEN"
)

// The bounds of one loan.
const (
	maxConnections = 1024
	idleTime       = time.Minute
	headerTime     = 5 * time.Second // for a request's header, which no plugin needs
	requestTime    = 900 * time.Millisecond
	maxHeader      = 16 << 10
	endTime        = 2 * time.Second // for what is under way when a loan ends
)

// Options say where sockets are and what is behind them.
type Options struct {
	// Dir is where the server makes its folder; default: the system's for temporary files. Paths of sockets are short:
	// this one may have 60 bytes.
	Dir string
	// Open returns the storage; it is called at each use, so that a gateway whose plugins keep nothing opens none.
	Open func() (script.Storage, error)
	// Event takes an event that the plugin of that name sends. nil: nowhere.
	Event func(plugin, kind, message string) error
	// Log takes what is not told to plugins. Default: dropped.
	Log *slog.Logger
}

// Server lends the store. It is safe for concurrent use.
type Server struct{ o Options }

// New returns a server that listens nowhere yet.
func New(o Options) *Server {
	if o.Dir == "" {
		o.Dir = os.TempDir()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{o}
}

// Borrower is who gets a loan.
type Borrower struct {
	Plugin string // as events and logs name it
	// Entries names the entries: those who name the same share them.
	Entries string
	// UID is who may connect; -1: whoever runs the gateway.
	UID int
}

// Loan is the store as one plugin has it.
type Loan struct {
	dir   string
	token string
	http  *http.Server
	ctx   context.Context // lends its values
	owned sync.WaitGroup
}

// Lend begins to listen for a plugin. ctx lends its values; the loan ends with Close.
func (s *Server) Lend(ctx context.Context, b Borrower) (*Loan, error) {
	l := &Loan{dir: filepath.Join(s.o.Dir, "tb-store-"+rand.Text()[:12]), token: rand.Text(), ctx: context.WithoutCancel(ctx)}
	listener, err := l.listen(b.UID)
	if err != nil {
		return nil, fmt.Errorf("store for plugin %q: %w", b.Plugin, errors.Join(err, os.RemoveAll(l.dir)))
	}
	h := &handler{
		Loan: l, plugin: b.Plugin, store: script.NewStore(s.o.Open, b.Entries, nil), event: s.o.Event, log: s.o.Log.With("plugin", b.Plugin),
	}
	l.http = &http.Server{
		Handler: h.routes(), ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: headerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return l.ctx },
	}
	l.owned.Go(func() {
		if err := l.http.Serve(netutil.LimitListener(listener, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
			h.log.Error("the store is not lent any more", "error", err.Error())
		}
	})
	return l, nil
}

// listen makes the loan's folder, with its socket, for the plugin's user alone.
func (l *Loan) listen(uid int) (net.Listener, error) {
	if err := os.Mkdir(l.dir, 0o700); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(l.ctx, "unix", l.socket())
	if err != nil || uid < 0 || uid == os.Geteuid() {
		return listener, err
	}
	if err := errors.Join(os.Lchown(l.socket(), uid, -1), os.Lchown(l.dir, uid, -1)); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

func (l *Loan) socket() string { return filepath.Join(l.dir, "sock") }

// Dir is the loan's folder, which is there as long as the loan, or until somebody removes what a crash has left.
func (l *Loan) Dir() string { return l.dir }

// Env is what the plugin's environment needs to use the loan.
func (l *Loan) Env() []string {
	return []string{EnvAddress + "=unix:" + l.socket(), EnvToken + "=" + l.token}
}

// Close ends the loan: what is under way is answered, and the socket goes.
func (l *Loan) Close() error {
	ctx, cancel := context.WithTimeout(l.ctx, endTime)
	defer cancel()
	err := l.http.Shutdown(ctx)
	if err != nil {
		err = l.http.Close()
	}
	l.owned.Wait()
	return errors.Join(err, os.RemoveAll(l.dir))
}
