package host

import (
	"regexp"
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// authSteps runs the auth hooks, those after them, and the checks of the session that came of it, unless the path is
// ignored, where post_key_auth hooks run alone. The order is Tyk's: a post_key_auth hook sees keys that have expired.
func (c *compiler) authSteps(auth, postKeyAuth []step) []step {
	last, versioned := auth[len(auth)-1].(*hookStep), c.d.Versions.In != config.VersionNone
	steps := []step{stepFunc(func(st *state) error {
		if st.ignored {
			return nil
		}
		for _, h := range auth {
			if err := h.run(st); err != nil {
				return err
			}
		}
		return st.identified(last)
	})}
	steps = append(steps, postKeyAuth...)
	return append(steps, stepFunc(func(st *state) error {
		if st.ignored {
			return nil
		}
		if err := st.identified(last); err != nil { // a hook may have taken the identity away
			return err
		}
		return st.rights(versioned)
	}))
}

// identified refuses who comes out of the auth hooks without a name, by the custom of the last one.
func (st *state) identified(last *hookStep) error {
	if st.f.X.Session().Identified() {
		return nil
	}
	if last.speaksTyk() {
		st.event(sdk.EventAuthFailure, "Forbidden")
		return &sdk.Error{Status: 403, Message: "Forbidden"}
	}
	st.event(sdk.EventAuthFailure, "no identity")
	return &sdk.Error{Status: 401, Message: "Authentication required"}
}

// rights checks what the session says of itself and of this API (reference §2.5): activity, expiry, access to the API,
// to the version when the API has versions, to the path when the session lists paths. A session without access rights
// may use every API.
func (st *state) rights(versioned bool) error {
	s := st.f.X.Session()
	switch {
	case s.Inactive:
		st.event(sdk.EventAuthFailure, "Attempted access from inactive key")
		return &sdk.Error{Status: 403, Message: "Key is inactive, please renew"}
	case s.Expires >= 1 && s.Expires <= time.Now().Unix():
		st.event(sdk.EventKeyExpired, "Attempted access from expired key")
		return &sdk.Error{Status: 401, Message: "Key has expired, please renew"}
	case len(s.AccessRights) == 0:
		return nil
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

// granted reports whether one of the specifications allows method and path, with or without the listen path; without
// any, everything is. Those without a URL are none: Tyk's gateway makes such when it decodes sessions. One that is no
// regular expression allows nothing.
func (st *state) granted(specs []sdk.AccessSpec) bool {
	q, some := st.f.X.Request(), false
	for _, s := range specs {
		if s.URL == "" && len(s.Methods) == 0 {
			continue
		}
		some = true
		if !slices.Contains(s.Methods, q.Method()) {
			continue
		}
		if re, err := regexp.Compile(s.URL); err == nil && (re.MatchString(q.Path()) || re.MatchString(st.rest())) {
			return true
		}
	}
	return !some
}
