package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/spf13/cobra"
)

// Bundles asks a running gateway about its bundles.
type Bundles struct {
	e Env
	c *connection
}

// NewBundles returns one that AddFlags makes ready.
func NewBundles(e Env) *Bundles { return &Bundles{e: e} }

// AddFlags offers the flags that say which gateway is asked.
func (b *Bundles) AddFlags(cmd *cobra.Command) { b.c = addConnectionFlags(cmd, b.e) }

// Asked reports whether flags or environment name a gateway: where, or by what secret.
func (b *Bundles) Asked() bool {
	return b.c.url != "" || b.c.secret != "" || b.c.secretFile != "" || b.e.lookup(envURL) != ""
}

// Status decodes what GET /v1/bundles tells.
func (b *Bundles) Status(ctx context.Context, into any) error {
	return b.call(ctx, http.MethodGet, "/v1/bundles", nil, into)
}

// Try decodes what of the bundles that run would not load by another trust policy, a document in JSON.
func (b *Bundles) Try(ctx context.Context, policy []byte, into any) error {
	return b.call(ctx, http.MethodPost, "/v1/bundles/policy", policy, into)
}

func (b *Bundles) call(ctx context.Context, method, path string, body []byte, into any) error {
	c, err := b.c.open()
	if err != nil {
		return err
	}
	var content any
	if body != nil {
		if !json.Valid(body) {
			return errors.New("the policy is no JSON")
		}
		content = json.RawMessage(body)
	}
	_, err = c.call(ctx, method, path, nil, content, into)
	return err
}
