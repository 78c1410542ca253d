// Package client has the commands that speak to the control API of a running gateway.
package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
)

// Env is the world the commands run in. All of it is required.
type Env struct {
	Environ        []string // in the form of os.Environ
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Commands are those of this package, for the root.
func Commands(e Env) []*cobra.Command {
	return []*cobra.Command{keyCommand(e), exportCommand(e), importCommand(e)}
}

const (
	defaultURL = "http://127.0.0.1:8081"
	envURL     = "TURNBUCKLE_ADMIN_URL"
	envSecret  = "TURNBUCKLE_ADMIN_SECRET"
	envFile    = "TURNBUCKLE_ADMIN_SECRET_FILE"

	// callTimeout bounds a request, but for archives.
	callTimeout = 30 * time.Second
	maxReply    = 64 << 20
)

func (e Env) lookup(name string) string {
	for _, pair := range slices.Backward(e.Environ) {
		if k, v, _ := strings.Cut(pair, "="); k == name {
			return v
		}
	}
	return ""
}

// connection is what flags and environment say of a control API.
type connection struct {
	e                       Env
	url, secret, secretFile string
	ca                      string
}

// addConnectionFlags offers them on a command and those below it.
func addConnectionFlags(cmd *cobra.Command, e Env) *connection {
	c := &connection{e: e}
	flags := cmd.PersistentFlags()
	flags.StringVar(&c.url, "admin", "", "`URL` of the gateway's control listener ($"+envURL+") (default "+defaultURL+")")
	flags.StringVar(&c.secret, "admin-secret", "", "`SECRET` of the control listener, or a token of it ($"+envSecret+")")
	flags.StringVar(&c.secretFile, "admin-secret-file", "", "`FILE` that holds it ($"+envFile+")")
	flags.StringVar(&c.ca, "admin-ca", "", "`FILE` with the CA certificates of the control listener, PEM (default the system's)")
	return c
}

// client speaks to one control API.
type client struct {
	base   *url.URL
	secret string
	http   *http.Client
}

func (c *connection) open() (*client, error) {
	text := cmp.Or(c.url, c.e.lookup(envURL), defaultURL)
	base, err := url.Parse(text)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, hint.New(fmt.Errorf("%q is no URL of a control listener", text), "write one like "+defaultURL)
	}
	secret := c.secret
	if file := cmp.Or(c.secretFile, c.e.lookup(envFile)); secret == "" && (c.secretFile != "" || c.e.lookup(envSecret) == "") && file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("secret of the control listener: %w", err)
		}
		secret = strings.TrimSpace(string(data))
	}
	secret = cmp.Or(secret, c.e.lookup(envSecret))
	if secret == "" {
		return nil, hint.New(errors.New("the control listener wants a secret"), "give it by --admin-secret-file, "+envSecret+" or --admin-secret")
	}
	t := &http.Transport{ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second} // past proxies: the secret is for nobody else
	if c.ca != "" {
		pem, err := os.ReadFile(c.ca)
		if err != nil {
			return nil, fmt.Errorf("CA certificates: %w", err)
		}
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", c.ca)
		}
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{base: base, secret: secret, http: &http.Client{Transport: t, CheckRedirect: stay}}, nil
}

// send asks, and returns a reply with a status of 2xx. The path is escaped already.
func (c *client) send(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Response, error) {
	target := strings.TrimSuffix(c.base.String(), "/") + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("control API: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+c.secret)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	reply, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if reply.StatusCode/100 == 2 {
		return reply, nil
	}
	defer reply.Body.Close()
	return nil, c.refused(reply)
}

func (c *client) unreachable(err error) error {
	var op *net.OpError
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the path, which may name a key
	}
	err = fmt.Errorf("the control listener at %s cannot be reached: %w", c.base.Redacted(), err)
	if errors.As(err, &op) && op.Op == "dial" {
		return hint.New(err, "start the gateway with --admin-listen, or name another with --admin or "+envURL)
	}
	return err
}

// refused is what a reply with another status says.
func (c *client) refused(reply *http.Response) error {
	var said struct {
		Message  string   `json:"message"`
		Problems []string `json:"problems"`
	}
	data, err := io.ReadAll(io.LimitReader(reply.Body, 1<<20))
	if err != nil || json.Unmarshal(data, &said) != nil || said.Message == "" {
		return hint.New(fmt.Errorf("%s answered %s", c.base.Redacted(), reply.Status), "is that the control listener of a gateway? it is named by --admin-listen of turnbuckle serve")
	}
	text := said.Message
	if len(said.Problems) > 1 {
		text = "refused:\n  " + strings.Join(said.Problems, "\n  ")
	}
	if reply.StatusCode == http.StatusForbidden && strings.Contains(text, "invalid or missing key") {
		return hint.New(errors.New("the control listener does not know this secret"), "it is the one that the gateway was given by --admin-secret, --admin-secret-file or "+envSecret)
	}
	return errors.New(text)
}

// call asks, and decodes the reply into a value, which may be nil. It returns the reply as it came.
func (c *client) call(ctx context.Context, method, path string, query url.Values, body, into any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(data)
	}
	reply, err := c.send(ctx, method, path, query, content)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	data, err := io.ReadAll(io.LimitReader(reply.Body, maxReply))
	if err != nil {
		return nil, c.unreachable(err)
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			return nil, fmt.Errorf("%s answered what is no reply of a control API: %w", c.base.Redacted(), err)
		}
	}
	return data, nil
}

func keyPath(key string) string { return "/tyk/keys/" + url.PathEscape(key) }
