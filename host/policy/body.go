package policy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// ErrBody marks an error for which a body is to blame and no hook: the client's, too large or cut short, or that of the
// upstream's reply. The hook has not been called.
var ErrBody = errors.New("body")

// BodyLimit is how much of a body may be buffered for a hook of that policy and those needs; 0 for none. A plugin that
// asks for more than [config.MaxNeededBody], or than route, the route's own limit on such bodies (0: none), gets that.
func BodyLimit(p config.BodyPolicy, n sdk.Needs, route config.Size) int64 {
	switch {
	case p.Mode == config.BodyNone:
		return 0
	case p.Mode == "" && n.BodyLimit > 0:
		most := config.MaxNeededBody
		if route > 0 {
			most = min(most, route)
		}
		return min(n.BodyLimit, int64(most))
	case p.Limit <= 0:
		return int64(config.DefaultBodyLimit)
	}
	return int64(p.Limit)
}

// body buffers what the hook needs to see. Too large a request body is the client's fault and ends the exchange with
// 413 whatever on_error says; too large a reply body is a failure of the hook.
func body(c Call, h sdk.Hook) Middleware {
	p := c.Policy.Body
	if p.Mode == config.BodyNone {
		return nil
	}
	needer, _ := h.(sdk.Needer)
	route := c.MaxBody
	if c.Phase == sdk.ResponsePhase {
		route = 0
	}
	return func(next sdk.Hook) sdk.Hook {
		return sdk.HookFunc(func(ctx context.Context, x *sdk.Exchange) error {
			f, live := x.Backing().(*flow.Flow)
			if !live {
				return next.Handle(ctx, x)
			}
			request, reply, most := p.Mode == config.BodyBuffer, p.Mode == config.BodyBuffer, BodyLimit(p, sdk.Needs{}, 0)
			unsure := false
			if needer != nil {
				n := needer.Needs()
				request, reply, most = n.Has(sdk.NeedBody), n.Has(sdk.NeedResponseBody), BodyLimit(p, n, route)
				unsure = n.Fields == sdk.NeedNothing // which is also what is said of a server that was never up
			}
			var err error
			switch {
			case c.Phase == sdk.ResponsePhase && reply:
				err = bufferReply(f, c.Name, most)
			case c.Phase != sdk.ResponsePhase && request:
				err = Buffer(f, c.Name, most)
			}
			if err != nil {
				return err
			}
			if err = next.Handle(ctx, x); err == nil && unsure && blind(c.Phase, needer.Needs(), f) {
				return fmt.Errorf("%w: its server said what the hook needs only while it was called", sdk.ErrUnavailable)
			}
			return err
		})
	}
}

// blind reports whether a hook was called without a body that it needs: its server came up, and said so, between the
// two. It may have let pass what it would have refused.
func blind(phase sdk.Phase, n sdk.Needs, f *flow.Flow) bool {
	if phase == sdk.ResponsePhase {
		return n.Has(sdk.NeedResponseBody) && !f.X.Response().Buffered() && f.Reply.Body != nil
	}
	return n.Has(sdk.NeedBody) && !f.X.Request().Buffered() && f.Body != nil
}

// Buffer reads the request's body for the hook of that name. Its errors mark [ErrBody] and hold the [*sdk.Error] that
// ends the exchange, or wrap context.Canceled.
func Buffer(f *flow.Flow, hook string, limit int64) error {
	if f.X.Request().Buffered() && int64(len(f.X.Request().Body())) <= limit {
		return nil
	}
	begun := time.Now()
	err := f.BufferRequest(limit)
	f.Times.Bodies += time.Since(begun)
	var refusal *sdk.Error
	switch {
	case err == nil:
		return nil
	case f.Ctx.Err() != nil, errors.Is(err, flow.ErrGone):
		return fmt.Errorf("%w: %w: %w", ErrBody, context.Canceled, err)
	case errors.As(err, &refusal):
		return fmt.Errorf("%w: %w", ErrBody, err)
	case errors.Is(err, sdk.ErrTooLarge):
		message := fmt.Sprintf("request body over %s, the limit of hook %s (setting body)", config.Size(limit), hook)
		return fmt.Errorf("%w: %w", ErrBody, &sdk.Error{Status: 413, Message: message, Err: err})
	}
	return fmt.Errorf("%w: %w", ErrBody, &sdk.Error{Status: 400, Message: "The request could not be read", Err: err})
}

// bufferReply reads the reply's body for the hook of that name. Its errors are like those of Buffer, but for a body
// over the limit, which is a failure of the hook.
func bufferReply(f *flow.Flow, hook string, limit int64) error {
	if f.X.Response().Buffered() && int64(len(f.X.Response().Body())) <= limit {
		return nil
	}
	begun := time.Now()
	err := f.BufferReply(limit)
	f.Times.Bodies += time.Since(begun)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sdk.ErrTooLarge):
		return fmt.Errorf("%w (hook %s, setting body)", err, hook)
	case f.Ctx.Err() != nil:
		return fmt.Errorf("%w: %w: %w", ErrBody, context.Canceled, err)
	}
	e := &sdk.Error{Status: 502, Message: "There was a problem proxying the request", Err: err}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		e.Status, e.Message = 504, "Upstream service reached hard timeout."
	}
	return fmt.Errorf("%w: %w", ErrBody, e)
}
