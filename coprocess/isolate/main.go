package isolate

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/interp"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/storehttp"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

// Wanted reports whether the process, whose arguments these are, is to run a script.
func Wanted(args []string) bool { return len(args) > 1 && args[1] == Arg }

// The exit statuses of a script's process, as SHIM.md has them.
const (
	exitUsage = 2
	exitLoad  = 3
)

// Main is the whole life of a script's process, which ends with ctx. It returns the exit status.
func Main(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) int {
	var spec Spec
	if err := read(args, &spec); err != nil {
		fmt.Fprintf(stderr, "this is how a gateway runs scripts apart: it is not for being run by hand: %v\n", err)
		return exitUsage
	}
	js.BoundPatterns()
	s, end, err := open(ctx, &spec, getenv, slog.New(slog.NewTextHandler(stderr, nil)))
	if err != nil {
		text, _ := json.Marshal(map[string]string{"kind": "load", "message": err.Error()}) // strings always can be
		fmt.Fprintf(stderr, "%s%s\n", process.LoadErrorMark, text)
		return exitLoad
	}
	p := script.Export(spec.Name, s)
	p.Close = end
	return serve.Run(ctx, p, nil, getenv, stderr)
}

func read(args []string, spec *Spec) error {
	if len(args) != 3 {
		return errors.New("one file is wanted")
	}
	text, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	return json.Unmarshal(text, spec)
}

// opened is a script of either language.
type opened interface {
	script.Opened
	Close() error
}

// open opens the script; end closes it, and all that it uses.
func open(ctx context.Context, spec *Spec, getenv func(string) string, log *slog.Logger) (s opened, end func() error, err error) {
	p := script.Plugin{Name: spec.Name, Main: spec.Main, Limits: spec.Limits, Fresh: spec.Fresh, Services: script.Services{Log: log}, Watch: script.NewWatch()}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 32, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: spec.HTTP.Insecure}, //nolint:gosec // if the operator asked for it
	}
	client := &http.Client{Transport: transport}
	p.Services.HTTP = script.NewHTTP(client, spec.HTTP.Limits)
	kept := storehttp.NewClient(getenv)
	if kept != nil {
		p.Services.Store = kept.Store(spec.Name)
	}
	end = func() error {
		var errs []error
		if s != nil {
			errs = append(errs, s.Close())
		}
		if p.Files != nil {
			errs = append(errs, p.Files.Close())
		}
		if kept != nil {
			kept.Close()
		}
		p.Watch.Close()
		transport.CloseIdleConnections()
		return errors.Join(errs...)
	}
	if spec.Dir != "" {
		if p.Files, err = script.OpenFiles(spec.Dir, p.Limits.Complete().Source); err != nil {
			return nil, nil, errors.Join(err, end())
		}
	}
	switch spec.Language {
	case "js":
		if one, failed := js.Open(ctx, p, js.Options{}); failed != nil {
			err = failed
		} else {
			s = one
		}
	case "lua":
		o := lua.Options{}
		for _, library := range spec.Allow {
			o.Allow = append(o.Allow, interp.Library(library))
		}
		if one, failed := lua.Open(ctx, p, o); failed != nil {
			err = failed
		} else {
			s = one
		}
	default:
		err = fmt.Errorf("plugin %q: there is no runtime for %q", spec.Name, spec.Language)
	}
	if err != nil {
		return nil, nil, errors.Join(err, end())
	}
	return s, end, nil
}
