package host

import (
	"cmp"
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

// custom is an auth hook, or a group of neighbouring ones.
type custom struct {
	*hookStep
	counts    bool // its session is the exchange's
	must      bool // it has to say who calls
	org       string
	keys      *identity.Keys // keeps its sessions; nil: they are good for one request
	memory    *authn.Memory  // which of them the hook has made; with an extractor
	lifetime  identity.Lifetime
	extractor *authn.Extractor // nil: the hook is asked every time
	buffer    int64            // what the extractor may read of a body, 0 nothing
}

func (m *custom) admit(st *state) error {
	x := &st.f.X
	var at place
	if m.extractor != nil {
		found, err := m.known(st, &at)
		if found || err != nil {
			return err
		}
	}
	before := x.Session()
	if err := m.hookStep.run(st); err != nil {
		return err
	}
	session := x.Session()
	if session.Identified() && (session != before || m.must) {
		st.named = true
	}
	switch {
	case !session.Identified() && m.must:
		return st.nobody(m.hookStep.speaksTyk())
	case session == before:
		return nil // it lets in whoever that is
	case !m.counts:
		x.BeginSession(before)
		return st.judge(session, before, false)
	case !session.Identified():
		return nil
	}
	if err := m.adopt(st, session, at); err != nil {
		return err
	}
	return st.judge(session, before, true)
}

// place is where the session of an extracted id lies.
type place struct {
	token string // empty without an extractor
	taken bool   // by an identity of JWTs, whose place is made of its name in the same way
}

// known finds the session that an earlier call of the hook left, by what the request says of itself. One whose deadline
// has passed is asked for anew.
func (m *custom) known(st *state, at *place) (found bool, err error) {
	x := &st.f.X
	if m.buffer > 0 {
		if err := policy.Buffer(st.f, m.name, m.buffer); err != nil {
			return false, err
		}
	}
	id, err := m.extractor.ID(x)
	if err != nil {
		st.event(sdk.EventAuthFailure, "Authorization field missing")
		return false, err
	}
	at.token = m.keys.Token(m.org, id)
	caller, err := m.keys.Lookup(st.f.Ctx, m.org, at.token)
	if err == nil {
		_, at.taken = caller.Session.Metadata[jwt.SessionMetadata]
	}
	switch {
	case err != nil || caller.View.IDExtractorDeadline <= time.Now().Unix():
		return false, nil // unknown, or the store is away: the hook knows
	case !m.memory.Vouched(m.vouches(st), caller) && refusal(caller.View) == nil:
		return false, nil // made by somebody else; who is blocked there is blocked, whoever said so
	}
	st.named = true
	before := x.Session()
	if m.counts {
		st.caller = caller
		x.BeginSession(caller.View)
	}
	return true, st.judge(caller.View, before, m.counts)
}

// vouches names the hook where it stands. All hooks of an organisation keep what they say of one id in one place, as in Tyk,
// and one hook's word is not another's.
func (m *custom) vouches(st *state) authn.Voucher {
	return authn.Voucher{API: st.route.info.ID, Hook: m.server + "/" + m.name}
}

// adopt makes a caller of the session that the hook made. It takes nobody's place: what an operator has said of an identity,
// that it is blocked for one, stays.
func (m *custom) adopt(st *state, session *sdk.Session, at place) error {
	if m.keys == nil {
		if session.ApplyPolicyID != "" || len(session.ApplyPolicies) > 0 {
			return m.failure(fmt.Errorf("auth hook %s names policies, which are applied to sessions that are kept: set store: true at the hook", m.name))
		}
		if st.caller != nil && st.caller.View.KeyID != session.KeyID {
			st.caller = nil // somebody else
		}
		return nil
	}
	token := cmp.Or(at.token, session.KeyID)
	if m.extractor != nil && session.IDExtractorDeadline == 0 { // which tells such sessions from those of tokens
		session = session.Clone()
		session.IDExtractorDeadline = 1
	}
	caller, err := m.keys.Adopt(st.f.Ctx, identity.Adoption{Org: m.org, Token: token, Hook: session, Lifetime: m.lifetime, Store: !at.taken})
	switch {
	case errors.Is(err, store.ErrUnavailable):
		return unavailable(err)
	case errors.Is(err, identity.ErrPolicy), errors.Is(err, identity.ErrInvalid), errors.Is(err, identity.ErrForeign):
		st.event(sdk.EventAuthFailure, "Forbidden")
		return &sdk.Error{Status: 403, Message: "Forbidden", Err: err}
	case err != nil:
		return fmt.Errorf("auth hook %s: %w", m.name, err)
	}
	if m.extractor != nil && !at.taken {
		m.memory.Vouch(m.vouches(st), caller)
	}
	st.caller = caller
	st.f.X.BeginSession(caller.View)
	return nil
}

// custom compiles an auth hook.
func (c *compiler) custom(m *config.AuthMethod, alone bool) (method, error) {
	p, err := c.place(m.Hook.HookRef, sdk.Auth)
	if err != nil {
		return nil, err
	}
	out := &custom{
		hookStep: c.step(p.hook, []placed{p}), counts: c.counts(m), must: alone || c.d.Dialect == config.DialectTyk,
		org: c.d.Org, lifetime: c.lifetime(),
	}
	if m.Hook.Extractor.From != "" {
		if out.extractor, err = authn.CompileExtractor(m.Hook.Extractor); err != nil {
			return nil, err
		}
		if out.extractor.NeedsBody() {
			out.buffer = c.bodyLimit()
		}
	}
	if m.Hook.Store || out.extractor != nil {
		callers, err := c.o.Shared.Callers()
		if err != nil {
			return nil, err
		}
		out.keys, out.memory = callers.Keys, callers.Memory
	}
	return out, nil
}
