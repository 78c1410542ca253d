package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// The events that changes of keys are, as Tyk spells them.
const (
	eventCreated = "TokenCreated"
	eventUpdated = "TokenUpdated"
	eventDeleted = "TokenDeleted"
)

// maxToken bounds tokens that are chosen: with their organisation they have room in the header of a request.
const maxToken = 8 << 10

// ref is the key that a request names: by its token, by the id it is stored under (hashed) or by its name in an organisation
// (username). The organisation is org_id's, that of api_id's API, or any.
func (a *api) ref(c *router.Call) (identity.Ref, error) {
	ref := identity.Ref{Key: c.Vars["key"], Hashed: c.Flag("hashed"), Org: c.Param("org_id")}
	if api := c.Param("api_id"); ref.Org == "" && api != "" {
		d := a.definition(api)
		if d == nil {
			return ref, router.Refusef(http.StatusBadRequest, "api_id: no API %q is served here", api)
		}
		ref.Org = d.Org
		ref.AnyOrg = d.Org == ""
	} else {
		ref.AnyOrg = ref.Org == ""
	}
	if c.Flag("username") && !ref.Hashed {
		ref.Key = a.o.State.Keys.Token(ref.Org, ref.Key)
	}
	return ref, nil
}

// definition returns the served definition of an id, nil when there is none.
func (a *api) definition(id string) *config.Definition {
	for _, d := range a.o.Definitions() {
		if d.ID == id {
			return d
		}
	}
	return nil
}

func (a *api) createKey(c *router.Call) error {
	d, err := a.draft(c, nil)
	if err != nil {
		return err
	}
	if c.Flag("username") {
		return router.Refusef(http.StatusBadRequest, "a user needs a name: POST /tyk/keys/NAME?username=true")
	}
	stored, err := a.o.State.Keys.Create(c.Context(), d.session.OrgID, "", d.session, d.lifetime)
	if err != nil {
		return err
	}
	c.About("key", a.nameOf(stored))
	a.publish(eventCreated, "Key created.", stored)
	router.Reply(c.W, http.StatusOK, a.changed(stored, stored.Token, "added", d))
	return nil
}

// putKey makes a key of a name or token that is chosen, or replaces it.
func (a *api) putKey(c *router.Call) error {
	ref, err := a.ref(c)
	if err != nil {
		return err
	}
	if was, err := a.o.State.Keys.Get(c.Context(), ref); !errors.Is(err, identity.ErrUnknown) {
		return a.replaceFound(c, ref, was, err)
	}
	d, err := a.draft(c, nil)
	if err != nil {
		return err
	}
	if ref.AnyOrg { // it is known only now
		ref.Org, ref.AnyOrg = d.session.OrgID, false
		if c.Flag("username") && !ref.Hashed {
			ref.Key = a.o.State.Keys.Token(ref.Org, c.Vars["key"])
		}
		if was, err := a.o.State.Keys.Get(c.Context(), ref); !errors.Is(err, identity.ErrUnknown) {
			return a.replaceFound(c, ref, was, err)
		}
	}
	ref.Org = d.session.OrgID
	if c.Flag("username") && d.session.BasicAuth.Password == "" {
		return router.Refusef(http.StatusBadRequest, "a user of basic authentication needs basic_auth_data.password: without, the name alone would let in")
	}
	if len(ref.Key) > maxToken {
		return router.Refusef(http.StatusBadRequest, "a key has at most %d bytes, this one %d", maxToken, len(ref.Key))
	}
	stored, err := a.o.State.Keys.Put(c.Context(), ref, d.session, d.lifetime)
	if err != nil {
		return err
	}
	if !c.Flag("suppress_reset") {
		if err := a.book().ResetQuotas(c.Context(), stored.ID, nil); err != nil { // of a key of that name that has been before
			return fmt.Errorf("the key is stored, its quota could not be reset: %w", err)
		}
	}
	a.publish(eventCreated, "Key created.", stored)
	router.Reply(c.W, http.StatusOK, a.changed(stored, a.tokenOf(stored, ref), "added", d))
	return nil
}

// replaceFound is replaceKey for a key that has been looked for.
func (a *api) replaceFound(c *router.Call, ref identity.Ref, was identity.Stored, err error) error {
	if err != nil {
		return err
	}
	return a.replaceKey(c, ref, was, "added")
}

func (a *api) updateKey(c *router.Call) error {
	ref, err := a.ref(c)
	if err != nil {
		return err
	}
	was, err := a.o.State.Keys.Get(c.Context(), ref)
	if err != nil {
		return err
	}
	return a.replaceKey(c, ref, was, "modified")
}

// replaceKey puts a new session in the place of one that is there. Secrets that the new one does not say stay: a key that
// was read does not tell them.
func (a *api) replaceKey(c *router.Call, ref identity.Ref, was identity.Stored, action string) error {
	d, err := a.draft(c, was.Session)
	if err != nil {
		return err
	}
	ctx, keys := c.Context(), a.o.State.Keys
	scopes := a.book().QuotaKeys(ctx, was.ID)
	stored, err := keys.Update(ctx, ref, d.lifetime, func(now *identity.Session) error {
		next := *d.session
		d.keepSecrets(&next, now)
		*now = next
		return nil
	})
	if err != nil {
		return err
	}
	if !c.Flag("suppress_reset") {
		if err := a.book().ResetQuotas(ctx, stored.ID, scopes); err != nil {
			return fmt.Errorf("the key is stored, its quota could not be reset: %w", err)
		}
	}
	a.publish(eventUpdated, "Key updated.", stored)
	router.Reply(c.W, http.StatusOK, a.changed(stored, a.tokenOf(stored, ref), action, d))
	return nil
}

func (a *api) getKey(c *router.Call) error {
	ref, err := a.ref(c)
	if err != nil {
		return err
	}
	stored, err := a.o.State.Keys.Get(c.Context(), ref)
	if err != nil {
		return err
	}
	s, err := a.shown(c.Context(), stored)
	if err != nil {
		return err
	}
	router.Reply(c.W, http.StatusOK, s)
	return nil
}

func (a *api) deleteKey(c *router.Call) error {
	ref, err := a.ref(c)
	if err != nil {
		return err
	}
	ctx, keys := c.Context(), a.o.State.Keys
	stored, err := keys.Get(ctx, ref)
	if ref.Hashed && errors.Is(err, identity.ErrInvalid) { // what cannot be read can be removed
		stored, err = identity.Stored{ID: ref.Key, Session: &identity.Session{OrgID: ref.Org}}, nil
	}
	if err == nil {
		err = keys.Delete(ctx, ref)
	}
	if errors.Is(err, identity.ErrUnknown) {
		return router.Refusef(http.StatusNotFound, "There is no such key found")
	}
	if err != nil {
		return err
	}
	if err := a.o.State.Limiter.Forget(ctx, stored.ID); err != nil {
		a.o.Log.Warn("control request: the counters of a deleted key stay until their time comes", "key", a.nameOf(stored), "error", err.Error())
	}
	a.publish(eventDeleted, "Key deleted.", stored)
	router.Reply(c.W, http.StatusOK, changed{Key: c.Vars["key"], Status: "ok", Action: "deleted"})
	return nil
}

// assignment is the body of POST /tyk/keys/policy/{key}.
type assignment struct {
	Policy        string   `json:"policy"`
	ApplyPolicies []string `json:"apply_policies"`
}

// assignPolicies gives a key other policies, and leaves what is left of its quota. The key is named by its id, as Tyk has
// it, or by its token.
func (a *api) assignPolicies(c *router.Call) error {
	var body assignment
	if err := c.Decode(&body); err != nil {
		return err
	}
	if body.Policy == "" && len(body.ApplyPolicies) == 0 {
		return router.Refusef(http.StatusBadRequest, "say policy or apply_policies")
	}
	ref, err := a.ref(c)
	if err != nil {
		return err
	}
	ctx, keys := c.Context(), a.o.State.Keys
	if !ref.Hashed {
		byID := ref
		byID.Hashed = true
		if there, err := keys.Exists(ctx, byID); err != nil {
			return err
		} else if there {
			ref = byID
		}
	}
	was, err := keys.Get(ctx, ref)
	if err != nil {
		return err
	}
	assign := func(s *identity.Session) error {
		s.ApplyPolicyID, s.ApplyPolicies, s.LastUpdated = body.Policy, body.ApplyPolicies, a.stamp()
		return nil
	}
	next := was.Session.Clone()
	_ = assign(next) // it has no error
	applied, err := a.applied(ctx, next)
	if err != nil {
		return err
	}
	stored, err := keys.Update(ctx, ref, a.lifetime(applied), assign)
	if err != nil {
		return err
	}
	a.publish(eventUpdated, "Key updated.", stored)
	router.Reply(c.W, http.StatusOK, a.changed(stored, c.Vars["key"], "updated", nil))
	return nil
}

// previewKey answers with the session as it would be, policies applied, and stores nothing.
func (a *api) previewKey(c *router.Call) error {
	d, err := a.draft(c, nil)
	if err != nil {
		return err
	}
	withoutSecrets(d.applied)
	router.Reply(c.W, http.StatusOK, d.applied)
	return nil
}

// changed is the reply to a change of a key, which the client knows as token. d, which may be nil, is what was asked for.
func (a *api) changed(stored identity.Stored, token, action string, d *draft) changed {
	body := changed{Key: token, Status: "ok", Action: action}
	if a.o.KeySettings.Hash != config.KeyPlain {
		body.KeyHash = stored.ID
	}
	if d != nil {
		body.Message = d.notice
		if d.made != "" && stored.Session.HMACSecret == d.made {
			body.HMACSecret = d.made
		}
	}
	return body
}

// tokenOf is what the caller of a stored key presents, as far as a request that named it can tell.
func (a *api) tokenOf(stored identity.Stored, ref identity.Ref) string {
	keys := a.o.State.Keys
	if whole := keys.Token(stored.Session.OrgID, ref.Key); !ref.Hashed && keys.ID(whole) == stored.ID {
		return whole
	}
	return ref.Key
}

// publish tells observers what happened to a key.
func (a *api) publish(kind, message string, stored identity.Stored) {
	a.o.Gateway.Publish(sdk.Event{
		Time: a.o.Now(), Type: kind, Org: stored.Session.OrgID, Message: message,
		Meta: map[string]string{"Key": a.nameOf(stored)},
	})
}

// nameOf names a key without telling it.
func (a *api) nameOf(stored identity.Stored) string { return router.HashKey(stored.ID, !a.plainKeys()) }

// stamp is the time as sessions have it in last_updated.
func (a *api) stamp() string { return fmt.Sprint(a.o.Now().Unix()) }

// lifetime is how long the store keeps a session: what its APIs say, the longest of them; the settings where one says
// nothing (reference §8.4).
func (a *api) lifetime(applied *identity.Session) identity.Lifetime {
	l := identity.Lifetime{API: a.o.KeySettings.Lifetime, RespectExpiry: a.o.KeySettings.RespectExpiry}
	longest := time.Duration(-1)
	for id := range applied.AccessRights {
		says := a.o.KeySettings.Lifetime
		if d := a.definition(id); d != nil {
			l.RespectExpiry = l.RespectExpiry || d.Auth.RespectExpiry
			if d.Auth.Lifetime > 0 {
				says = d.Auth.Lifetime
			}
		}
		if says == 0 || longest == 0 { // for ever
			longest = 0
			continue
		}
		longest = max(longest, says)
	}
	if longest >= 0 {
		l.API = longest
	}
	return l
}

// applied is the session with its policies. One that may use nothing by name may use everything: that takes keys.master.
func (a *api) applied(ctx context.Context, s *identity.Session) (*identity.Session, error) {
	applied, err := a.o.State.Policies.Apply(ctx, s)
	if err != nil {
		return nil, err
	}
	if len(applied.AccessRights) == 0 && !a.o.KeySettings.Master {
		return nil, router.Refusef(http.StatusBadRequest,
			"the key has no access_rights, and would admit to every API: name APIs, or policies that grant some; keys.master: true in the settings admits such keys")
	}
	return applied, nil
}

// unserved names the APIs of a session that are not served here.
func (a *api) unserved(s *identity.Session) string {
	var names []string
	for id := range s.AccessRights {
		if a.definition(id) == nil {
			names = append(names, fmt.Sprintf("%q", id))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "not served here: API " + strings.Join(sorted(names), ", ")
}
