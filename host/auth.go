package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/authn"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt"
	"github.com/turnbuckle-gateway/turnbuckle/host/policy"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// A method lets a caller in, or ends the exchange with why not. What it finds out is in the state: the session, and who
// that is to the gateway.
type method interface{ admit(st *state) error }

// builtin is a method of the gateway's own. It is counted and recorded as a hook of the server "gateway".
type builtin struct {
	*hookStep
	auth   authn.Authenticator
	counts bool  // its session is the exchange's
	buffer int64 // what it may read of a body, 0 nothing
}

func (m *builtin) admit(st *state) error {
	x := &st.f.X
	if m.buffer > 0 {
		if err := policy.Buffer(st.f, m.name, m.buffer); err != nil {
			return err
		}
	}
	x.Begin(sdk.Auth, nil, false)
	st.hook, st.grouped, st.timed = m.hookStep, st.grouped[:0], false
	start, bodies := time.Now(), st.f.Times.Bodies
	caller, err := m.auth.Authenticate(st.f.Ctx, x)
	took := time.Since(start) - (st.f.Times.Bodies - bodies)
	st.hook = nil
	st.f.Times.Hooks += took
	before := x.Session()
	if err == nil && m.counts && caller != nil {
		st.caller = caller
		x.SetSession(caller.View)
	}
	if errors.Is(err, store.ErrUnavailable) {
		err = unavailable(err)
	}
	m.count(st, outcomeOf(err, x), took, err)
	if err != nil {
		return m.refused(st, err)
	}
	if caller == nil {
		return nil
	}
	st.named = true
	return st.judge(caller.View, before, m.counts)
}

// refused turns an error into what ends the exchange. That nobody knows who calls, because a store or a key set is away, is no
// failure of the caller's to be told of.
func (m *builtin) refused(st *state, err error) error {
	var refusal *sdk.Error
	if errors.As(err, &refusal) && refusal.Status >= 500 {
		st.trying++
		defer func() { st.trying-- }()
	}
	return m.failed(st, err)
}

// judge looks at the session that does not come to count, of the one that a method has found and the one before it. Its key
// must let the caller in nevertheless. That of the one that counts is judged behind the hooks of post_key_auth.
func (st *state) judge(found, before *sdk.Session, counts bool) error {
	other := found
	if counts {
		other = before
	}
	if !other.Identified() || counts && found.Identified() && found.KeyID == other.KeyID {
		return nil
	}
	return st.current(other)
}

// unavailable is the reply to a request that needs a store which is away.
func unavailable(err error) *sdk.Error {
	return &sdk.Error{Status: 503, Message: "Key store unavailable", Err: err}
}

// every wants each of its methods to let the caller in.
type every []method

func (g every) admit(st *state) error {
	for _, m := range g {
		if err := m.admit(st); err != nil {
			return err
		}
	}
	return nil
}

// either wants one of its methods to let the caller in. What one that does not has changed is undone before the next.
type either []method

func (g either) admit(st *state) error {
	st.trying++
	err := g.first(st)
	st.trying--
	var refusal *sdk.Error
	if errors.As(err, &refusal) && refusal.Status < 500 { // nobody was told of the methods' own refusals
		st.event(sdk.EventAuthFailure, refusal.Message)
	}
	return err
}

// first returns nil when a method lets the caller in, else the refusal of the first that found something to judge.
func (g either) first(st *state) error {
	var first error
	var failure, by string // of the first
	who, noFailure, gateway := st.caller, st.failure, st.answeredBy
	for _, m := range g {
		var before sdk.Undo
		before.Keep(&st.f.X)
		st.named = false
		err := m.admit(st)
		switch {
		case err == nil && !st.named: // a group of hooks
			err = st.nobody(lastHook(m).speaksTyk())
		case err == nil, errors.Is(err, errAnswered), errors.Is(err, context.Canceled) && st.f.Ctx.Err() != nil:
			return err
		case st.f.Spoiled(): // the body is of no use to the next, nor to the upstream
			return err
		}
		before.Restore(&st.f.X)
		if first == nil || authn.IsMissing(first) {
			first, failure, by = err, st.failure, st.answeredBy
		}
		st.caller, st.failure, st.answeredBy = who, noFailure, gateway
	}
	st.failure, st.answeredBy = failure, by
	return first
}

// authentication compiles the methods of the definition.
func (c *compiler) authentication() (method, error) {
	list, one := c.d.Auth.Methods()
	return c.methodGroup(list, one)
}

func (c *compiler) methodGroup(list []config.AuthMethod, one bool) (method, error) {
	var methods []method
	var run []placed // of hooks that one call may run
	for i := range list {
		m := &list[i]
		if !one && c.plain(m) {
			p, err := c.place(m.Hook.HookRef, sdk.Auth)
			if err != nil {
				return nil, err
			}
			if len(run) > 0 && !p.joins(&run[0]) {
				methods, run = append(methods, c.hooksOf(run)...), nil
			}
			run = append(run, p)
			continue
		}
		methods, run = append(methods, c.hooksOf(run)...), nil
		compiled, err := c.method(m, one)
		if err != nil {
			return nil, fmt.Errorf("auth method %s: %w", m.Name, err)
		}
		methods = append(methods, compiled)
	}
	methods = append(methods, c.hooksOf(run)...)
	switch {
	case one:
		return either(methods), nil
	case len(methods) == 1:
		return methods[0], nil
	}
	return every(methods), nil
}

// plain reports whether a method is a hook of which nothing but its call is wanted.
func (c *compiler) plain(m *config.AuthMethod) bool {
	return m.Kind == config.AuthHook && c.d.Dialect == config.DialectNative && c.d.Auth.Identity == "" &&
		!m.Hook.Store && m.Hook.Extractor.From == ""
}

// hooksOf makes methods of neighbouring plain hooks.
func (c *compiler) hooksOf(run []placed) []method {
	var out []method
	for _, s := range c.steps(run) {
		out = append(out, &custom{hookStep: s.(*hookStep), counts: true})
	}
	return out
}

func (c *compiler) method(m *config.AuthMethod, alone bool) (method, error) {
	switch m.Kind {
	case config.AuthAll, config.AuthAny:
		return c.methodGroup(m.Group, m.Kind == config.AuthAny)
	case config.AuthHook:
		return c.custom(m, alone)
	}
	callers, err := c.o.Shared.Callers()
	if err != nil {
		return nil, err
	}
	var auth authn.Authenticator
	if m.Kind == config.AuthJWT {
		auth, err = c.jwt(m, callers)
	} else {
		auth, err = authn.Compile(m, authn.Facts{ID: c.d.ID, Name: c.d.Name, Org: c.d.Org, Memory: callers.Memory}, callers.Keys)
	}
	if err != nil {
		return nil, err
	}
	out := &builtin{hookStep: c.ownStep(m.Name), auth: auth, counts: c.counts(m)}
	if authn.NeedsBody(auth) {
		out.buffer = c.bodyLimit()
	}
	return out, nil
}

// counts reports whether a method's session is the exchange's.
func (c *compiler) counts(m *config.AuthMethod) bool {
	return c.d.Auth.Identity == "" || c.d.Auth.Identity == m.Name
}

func (c *compiler) lifetime() identity.Lifetime {
	return identity.Lifetime{
		API: cmp.Or(c.d.Auth.Lifetime, c.o.Lifetime.API), RespectExpiry: c.d.Auth.RespectExpiry || c.o.Lifetime.RespectExpiry,
	}
}

// bodyLimit is how much of a body is read for a method that wants one.
func (c *compiler) bodyLimit() int64 {
	if limit := c.d.Limits.Body; limit > 0 {
		return int64(min(limit, config.DefaultBodyLimit))
	}
	return int64(config.DefaultBodyLimit)
}

func (c *compiler) jwt(m *config.AuthMethod, callers *Callers) (authn.Authenticator, error) {
	services := jwt.Services{Keys: callers.Keys, Sets: callers.Sets, Tokens: callers.Tokens}
	if m.JWT.NoCache {
		services.Tokens = nil
	}
	a, err := jwt.Compile(&m.JWT, jwt.API{Org: c.d.Org, Lifetime: c.lifetime(), Store: c.counts(m)}, services)
	if err != nil {
		return nil, err
	}
	c.r.closers = append(c.r.closers, func(context.Context) error { a.Close(); return nil })
	return a, nil
}
