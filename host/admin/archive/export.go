package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/folder"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/orgs"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// Gateway is what is written, and restored. Folder is nil when the definitions are no part of it; everything else is
// required.
type Gateway struct {
	Store    store.Store
	Orgs     *orgs.Orgs
	Policies *identity.Policies
	Keys     *identity.Keys
	Folder   *folder.Folder
	Now      func() time.Time
}

const pageSize = 500

// Export writes an archive of all there is, a page at a time. What changes meanwhile may or may not be in it. Policies of
// files are written as well as those of the store.
func (g *Gateway) Export(ctx context.Context, to io.Writer) (Counts, error) {
	h := Header{Created: g.Now().UTC().Truncate(time.Second)}
	for _, f := range g.Keys.Functions() {
		h.Hashes = append(h.Hashes, string(f))
	}
	w, err := NewWriter(to, h)
	if err != nil {
		return Counts{}, err
	}
	for _, part := range []func(context.Context, *Writer) error{g.exportOrgs, g.exportAPIs, g.exportPolicies, g.exportKeys} {
		if err := part(ctx, w); err != nil {
			return w.counts, err
		}
	}
	return w.Close()
}

func (g *Gateway) exportOrgs(ctx context.Context, w *Writer) error {
	seen := map[string]bool{} // a Redis may list a name twice
	for cursor := ""; ; {
		page, err := g.Orgs.List(ctx, cursor, pageSize)
		if err != nil {
			return err
		}
		for _, id := range page.IDs {
			s, err := g.Orgs.Get(ctx, id)
			switch {
			case seen[id] || errors.Is(err, orgs.ErrUnknown): // or it went meanwhile
				continue
			case errors.Is(err, identity.ErrInvalid):
				w.counts.Unreadable++
				continue
			case err != nil:
				return err
			}
			seen[id] = true
			text, err := s.MarshalJSON()
			if err != nil {
				return err
			}
			if err := w.Put(Record{Kind: KindOrg, ID: id, Session: text}); err != nil {
				return err
			}
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

func (g *Gateway) exportAPIs(_ context.Context, w *Writer) error {
	if g.Folder == nil {
		return nil
	}
	all, err := g.Folder.All()
	if err != nil {
		return err
	}
	for _, d := range all {
		if _, err := d.JSON(); err != nil { // nor could it be restored
			w.counts.Unreadable++
			continue
		}
		if err := w.Put(Record{Kind: KindAPI, ID: d.ID, File: d.File, Text: string(d.Text)}); err != nil {
			return err
		}
	}
	return nil
}

func (g *Gateway) exportPolicies(ctx context.Context, w *Writer) error {
	type name struct{ org, id string }
	seen := map[name]bool{}
	for q := (identity.Query{AllOrgs: true, Limit: pageSize}); ; {
		page, err := g.Policies.List(ctx, q)
		if err != nil {
			return err
		}
		for _, p := range page.Policies {
			if seen[name{p.OrgID, p.ID}] {
				continue
			}
			seen[name{p.OrgID, p.ID}] = true
			text, err := p.MarshalJSON()
			if err != nil {
				return err
			}
			if err := w.Put(Record{Kind: KindPolicy, ID: p.ID, Org: p.OrgID, Policy: text}); err != nil {
				return err
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return nil
		}
	}
}

// exportKeys may write a key twice where a Redis lists it twice: the same lines restore the same key.
func (g *Gateway) exportKeys(ctx context.Context, w *Writer) error {
	for q := (identity.Query{AllOrgs: true, Limit: pageSize}); ; {
		page, next, err := g.Keys.Page(ctx, q)
		if err != nil {
			return err
		}
		for _, k := range page {
			if k.Session == nil {
				w.counts.Unreadable++
				continue
			}
			text, err := k.Session.MarshalJSON()
			if err != nil {
				return fmt.Errorf("key %s: %w", k.ID, err)
			}
			if err := w.Put(Record{Kind: KindKey, ID: k.ID, Session: text, Expires: k.Ends.UTC()}); err != nil {
				return err
			}
		}
		if q.Cursor = next; q.Cursor == "" {
			return nil
		}
	}
}
