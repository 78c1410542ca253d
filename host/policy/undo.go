package policy

import (
	"context"
	"fmt"
	"slices"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Undo makes a hook that fails leave the exchange as it found it, bodies that were buffered for it included, so that an
// exchange that goes on without the hook is not half changed by it. A refusal ends the exchange and undoes nothing.
func Undo() Middleware {
	return func(next sdk.Hook) sdk.Hook {
		return sdk.HookFunc(func(ctx context.Context, x *sdk.Exchange) error {
			before := Keep(x)
			err := next.Handle(ctx, x)
			if invalid := x.Invalid(); err == nil && invalid != nil {
				err = fmt.Errorf("%w: %w", sdk.ErrProtocol, invalid)
			}
			if forgivable(ctx, err) {
				before.Restore(x)
			}
			return err
		})
	}
}

// Kept is what a hook can change, as it was.
type Kept struct {
	request  sdk.RequestInit
	header   []sdk.Field
	body     []byte
	buffered bool
	status   int
	length   int64
	reply    []sdk.Field
	content  []byte
	whole    bool
	session  *sdk.Session
	values   []sdk.Value
	config   []byte
}

// Keep notes how the exchange is, to be restored.
func Keep(x *sdk.Exchange) Kept {
	q, r := x.Request(), x.Response()
	return Kept{
		request: sdk.RequestInit{
			Method: q.Method(), Scheme: q.Scheme(), Host: q.Host(), Path: q.Path(), Query: q.Query().Raw(), URI: q.URI(),
			Proto: q.Proto(), Length: q.Length(),
		},
		header: slices.Clone(q.Header().Fields()), body: q.Body(), buffered: q.Buffered(),
		status: r.Status(), length: r.Length(), reply: slices.Clone(r.Header().Fields()), content: r.Body(), whole: r.Buffered(),
		session: x.Session(), values: slices.Clone(x.Values()), config: x.Config(),
	}
}

// Restore makes the exchange what it was when it was kept.
func (k *Kept) Restore(x *sdk.Exchange) {
	q, r := x.Request(), x.Response()
	x.Retract()
	q.Fill(k.request)
	for _, f := range k.header {
		q.Header().Append(f.Name, f.Value)
	}
	if k.buffered {
		q.LoadBody(k.body)
	}
	r.Fill(k.status, k.length)
	for _, f := range k.reply {
		r.Header().Append(f.Name, f.Value)
	}
	if k.whole {
		r.LoadBody(k.content)
	}
	x.BeginSession(k.session)
	for i, v := range x.Values() {
		var data []byte
		if i < len(k.values) { // values are only ever appended
			data = k.values[i].Data
		}
		x.SetValue(v.Name, data)
	}
	x.Begin(x.Phase(), k.config, false) // nothing has changed
}
