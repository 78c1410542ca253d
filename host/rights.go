package host

import (
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/authn"
	"github.com/turnbuckle-gateway/turnbuckle/host/rules"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// authSteps runs the methods of authentication, the hooks after them, and the checks of the session that came of it,
// unless the path is ignored, where post_key_auth hooks run alone. The order is Tyk's: a post_key_auth hook sees keys
// that have expired.
func (c *compiler) authSteps(auth method, postKeyAuth []step) []step {
	versioned, byTyk := c.d.Versions.In != config.VersionNone, c.asTyk(auth)
	strip := authn.NewStrip(&c.d.Auth, c.d.Credential)
	c.r.secret, c.r.secretHeaders = authn.Places(&c.d.Auth, c.d.Credential)
	steps := []step{stepFunc(func(st *state) error {
		if st.ignored {
			return nil
		}
		if err := auth.admit(st); err != nil {
			return err
		}
		return st.identified(byTyk())
	})}
	steps = append(steps, postKeyAuth...)
	return append(steps, stepFunc(func(st *state) error {
		if st.ignored {
			strip.Apply(&st.f.X)
			return nil
		}
		if err := st.identified(byTyk()); err != nil { // a hook may have taken the identity away
			return err
		}
		strip.Apply(&st.f.X)
		return st.rights(versioned)
	}))
}

// identified refuses who comes out of the methods of authentication without a name.
func (st *state) identified(tyk bool) error {
	if st.f.X.Session().Identified() {
		return nil
	}
	return st.nobody(tyk)
}

// asTyk reports whether a caller without a name is refused as Tyk does: by the protocol of the last auth hook, which
// should have named it, else by the definition's dialect.
func (c *compiler) asTyk(auth method) func() bool {
	if last := lastHook(auth); last != nil {
		return last.speaksTyk
	}
	classic := c.d.Dialect == config.DialectTyk
	return func() bool { return classic }
}

func lastHook(m method) *hookStep {
	var list []method
	switch m := m.(type) {
	case *custom:
		return m.hookStep
	case every:
		list = m
	case either:
		list = m
	}
	for _, inner := range slices.Backward(list) {
		if h := lastHook(inner); h != nil {
			return h
		}
	}
	return nil
}

// nobody refuses a caller without a name, by the custom of the protocol.
func (st *state) nobody(tyk bool) error {
	if tyk {
		st.event(sdk.EventAuthFailure, "Forbidden")
		return &sdk.Error{Status: 403, Message: "Forbidden"}
	}
	st.event(sdk.EventAuthFailure, "no identity")
	return &sdk.Error{Status: 401, Message: "Authentication required"}
}

// current checks what a session says of itself: activity, expiry.
func (st *state) current(s *sdk.Session) error {
	refused := refusal(s)
	if refused == nil {
		return nil
	}
	kind, message := sdk.EventAuthFailure, "Attempted access from inactive key"
	if !s.Inactive {
		kind, message = sdk.EventKeyExpired, "Attempted access from expired key"
	}
	st.event(kind, message)
	return refused
}

// refusal is why a session lets nobody in any more; nil when it does.
func refusal(s *sdk.Session) *sdk.Error {
	switch {
	case s.Inactive:
		return &sdk.Error{Status: 403, Message: "Key is inactive, please renew"}
	case s.Expires >= 1 && s.Expires <= time.Now().Unix():
		return &sdk.Error{Status: 401, Message: "Key has expired, please renew"}
	}
	return nil
}

// rights checks what the session says of itself and of this API (reference §2.5): activity, expiry, access to the API,
// to the version when the API has versions, to the path when the session lists paths. A session without access rights
// may use every API.
func (st *state) rights(versioned bool) error {
	s := st.f.X.Session()
	if err := st.current(s); err != nil || len(s.AccessRights) == 0 {
		return err
	}
	access, ok := s.AccessRights[st.route.info.ID]
	if !ok || versioned && len(access.Versions) > 0 && !slices.Contains(access.Versions, st.variant.name) {
		st.event(sdk.EventAuthFailure, "Attempted access to disallowed API")
		return &sdk.Error{Status: 403, Message: "Access to this API has been disallowed"}
	}
	if !st.granted(access.AllowedURLs) {
		st.event(sdk.EventAuthFailure, "Attempted access to disallowed resource")
		return &sdk.Error{Status: 403, Message: "Access to this resource has been disallowed"}
	}
	return nil
}

// granted reports whether the specifications allow method and path, with or without the listen path, in every reading of
// it; without any, everything is. Those without a URL are none: Tyk's gateway makes such when it decodes sessions. One that
// is no regular expression allows nothing.
func (st *state) granted(specs []sdk.AccessSpec) bool {
	q, some := st.f.X.Request(), false
	allowed := func(path string) bool {
		return slices.ContainsFunc(specs, func(s sdk.AccessSpec) bool {
			return (s.URL != "" || len(s.Methods) > 0) && slices.Contains(s.Methods, q.Method()) && st.route.patterns.match(s.URL, path)
		})
	}
	for _, s := range specs {
		some = some || s.URL != "" || len(s.Methods) > 0
	}
	return !some || rules.EveryReading(q.Path(), allowed) || rules.EveryReading(st.rest(), allowed)
}
