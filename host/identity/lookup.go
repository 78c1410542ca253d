package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// Lookup returns who a token of an organisation belongs to. A session of another organisation is unknown. Errors are
// ErrUnknown, ErrPolicy, store.ErrUnavailable and a context's.
//
// A name that is no secret finds its key as well: the user name of basic auth, the key id of an HMAC signature. Who takes
// the token alone as proof refuses sessions with a password (Session.BasicAuth).
func (k *Keys) Lookup(ctx context.Context, org, token string) (*Caller, error) {
	e := k.cache.get(byToken, org, token)
	if e != nil && k.live(e.resident) {
		return e.caller, nil
	}
	if len(token) < k.options.MinToken || len(token) > maxToken {
		return nil, ErrUnknown
	}
	r, err := k.find(ctx, k.candidates(org, token), func(s *Session) bool { return s.OrgID == org })
	if err != nil {
		if e != nil && k.stale(e.resident, err) {
			return e.caller, nil
		}
		if e != nil && errors.Is(err, ErrUnknown) {
			k.cache.forget(e.resident.id) // it must not be gone by later, when the store is away
		}
		return nil, err
	}
	return k.name(r, byToken, org, token), nil
}

// LookupID returns who is stored under an id, of whatever organisation.
func (k *Keys) LookupID(ctx context.Context, id string) (*Caller, error) {
	if r := k.cached(id); r != nil {
		return r.caller(""), nil
	}
	if id == "" || len(keyPrefix)+len(id) > store.MaxKey {
		return nil, ErrUnknown
	}
	r, err := k.find(ctx, []string{id}, anyone)
	if err != nil {
		return nil, err
	}
	return r.caller(""), nil
}

func anyone(*Session) bool { return true }

// ByCertificate returns the caller whose session is bound to a client certificate by its fingerprint, the lower-case hex
// of its SHA-256. Errors are Lookup's.
func (k *Keys) ByCertificate(ctx context.Context, org, fingerprint string) (*Caller, error) {
	if e := k.cache.get(byCertificate, org, fingerprint); e != nil && k.live(e.resident) {
		return e.caller, nil
	}
	key := certificateKey(org, fingerprint)
	if fingerprint == "" || len(key) > store.MaxKey {
		return nil, ErrUnknown
	}
	index, err := k.storage.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrUnknown
	}
	if err != nil {
		return nil, fmt.Errorf("key by certificate: %w", err)
	}
	bound := func(s *Session) bool { return s.OrgID == org && s.fingerprint() == fingerprint }
	r, err := k.find(ctx, []string{string(index.Value)}, bound)
	if err != nil {
		return nil, err
	}
	c := r.caller("")
	// Not noted like a resident is: an index that changed since leads to a session that has lost its certificate, and is
	// dead, or to one of two that have it.
	k.cache.putName(&entry{kind: byCertificate, org: strings.Clone(org), name: strings.Clone(fingerprint), resident: r, caller: c})
	return c, nil
}

// fingerprint is that of the certificate the session is bound to. Tyk puts the organisation before it.
func (s *Session) fingerprint() string {
	return strings.ToLower(strings.TrimPrefix(s.Certificate, s.OrgID))
}

// stale reports whether what was known before the store went away is to be gone by.
func (k *Keys) stale(r *resident, err error) bool {
	return k.options.Stale && errors.Is(err, store.ErrUnavailable) && !r.dead.Load() &&
		(r.ends == 0 || k.options.Now().UnixMilli() < r.ends)
}

func (k *Keys) live(r *resident) bool {
	if r.dead.Load() || r.doubts != k.doubts.Load() || r.generation != k.policies.generation.Load() || r.ends != 0 && k.options.Now().UnixMilli() >= r.ends {
		return false
	}
	if !r.used.Load() {
		r.used.Store(true)
	}
	return true
}

// cached returns the live resident of an id, or nil.
func (k *Keys) cached(id string) *resident {
	if e := k.cache.get(byID, "", id); e != nil && k.live(e.resident) {
		return e.resident
	}
	return nil
}

// name returns the resident's caller under a name, and keeps it.
func (k *Keys) name(r *resident, as kind, org, token string) *Caller {
	token = strings.Clone(token) // it may be a part of a request's memory
	if org == r.stored.OrgID {
		org = r.stored.OrgID // and so may this be
	} else {
		org = strings.Clone(org)
	}
	c := r.caller(token)
	if len(token) <= cacheToken && !r.dead.Load() {
		k.cache.putName(&entry{kind: as, org: org, name: token, resident: r, caller: c})
	}
	return c
}

// held is a session as it is in the store, or waits to be.
type held struct {
	id       string // of its own memory
	session  *Session
	grants   *grants // of the session, nil when nobody shares them
	sum      uint64  // of its bytes
	size     int     // of them
	ends     int64   // unix milliseconds, 0 never
	note     uint64  // of the cache, from before it was read
	resident *resident
}

// find returns the resident of the first id that has a session which is wanted.
func (k *Keys) find(ctx context.Context, ids []string, wanted func(*Session) bool) (*resident, error) {
	h, err := k.fetch(ctx, ids, wanted)
	if err != nil {
		return nil, err
	}
	if h.resident != nil {
		return h.resident, nil
	}
	return k.keep(ctx, h)
}

// fetch returns what the first id has that is wanted, from memory or the store, without a look at its policies.
func (k *Keys) fetch(ctx context.Context, ids []string, wanted func(*Session) bool) (held, error) {
	for _, id := range ids {
		if h, ok := k.known(id); ok && wanted(h.session) {
			return h, nil
		}
	}
	if len(ids) == 0 {
		return held{}, ErrUnknown
	}
	h, err := k.read(ctx, ids[0])
	switch {
	case err == nil && wanted(h.session):
		return h, nil
	case err != nil && !errors.Is(err, ErrUnknown):
		return held{}, err
	case len(ids) == 1:
		return held{}, ErrUnknown
	}
	return k.readMany(ctx, ids[1:], wanted)
}

// known returns what is in memory: cached, or waiting to be written.
func (k *Keys) known(id string) (held, bool) {
	if r := k.cached(id); r != nil {
		return held{id: r.id, session: r.stored, sum: r.sum, ends: r.ends, resident: r}, true
	}
	note := k.cache.note(id)
	w := k.behind.waiting(id)
	if w == nil || w.ends != 0 && k.options.Now().UnixMilli() >= w.ends {
		return held{}, false
	}
	return held{id: w.id, session: w.session, sum: w.sum, size: len(w.value), ends: w.ends, note: note}, true
}

func (k *Keys) read(ctx context.Context, id string) (held, error) {
	note, key := k.cache.note(id), keyPrefix+id
	e, err := k.storage.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return held{}, ErrUnknown
	}
	if err != nil {
		return held{}, fmt.Errorf("read a key: %w", err)
	}
	return k.decoded(key[len(keyPrefix):], e, note)
}

func (k *Keys) readMany(ctx context.Context, ids []string, wanted func(*Session) bool) (held, error) {
	stored, notes := make([]string, len(ids)), make([]uint64, len(ids))
	for i, id := range ids {
		stored[i], notes[i] = keyPrefix+id, k.cache.note(id)
	}
	entries, err := k.storage.Many(ctx, stored)
	if err != nil {
		return held{}, fmt.Errorf("read a key: %w", err)
	}
	for i, e := range entries {
		if e.Value == nil {
			continue
		}
		h, err := k.decoded(stored[i][len(keyPrefix):], e, notes[i])
		if err != nil {
			return held{}, err
		}
		if wanted(h.session) {
			return h, nil
		}
	}
	return held{}, ErrUnknown
}

func (k *Keys) decoded(id string, e store.Entry, note uint64) (held, error) {
	s, g, err := k.shared.decodeStored(e.Value)
	if err != nil {
		return held{}, fmt.Errorf("%s in the store: %w", k.public(id), err)
	}
	return held{id: id, session: s, grants: g, sum: k.sum(e.Value), size: len(e.Value), ends: millis(e.Expires), note: note}, nil
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// public names a key in an error: by its id where that is a hash, else not, since it is the token.
func (k *Keys) public(id string) string {
	if k.options.Hash == keyid.Plain {
		return "a key"
	}
	return "key " + id
}

// granting returns the policies of a session for a request. A session without access rights may use everything: a policy out
// of which the last API was taken must not do that to the sessions that had it.
func (k *Keys) granting(ctx context.Context, org string, s *Session) ([]*Policy, error) {
	policies, err := k.policies.find(ctx, org, s)
	if err == nil && !k.options.Master && grantNothing(policies) {
		return nil, fmt.Errorf("%w: %q grant no API: name some in their access_rights, or have partitions leave them to the keys; keys.master: true in the settings makes such keys good for every API", ErrPolicy, s.Policies())
	}
	return policies, err
}

// keep applies the policies, and caches what comes of it unless the id changed since the note.
func (k *Keys) keep(ctx context.Context, h held) (*resident, error) {
	r := &resident{
		id: h.id, stored: h.session, sum: h.sum, ends: h.ends,
		generation: k.policies.generation.Load(), doubts: k.doubts.Load(),
	}
	policies, err := k.granting(ctx, h.session.OrgID, h.session)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.public(h.id), err)
	}
	r.applied, r.grants, err = k.shared.apply(h.session, h.grants, policies)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.public(h.id), err)
	}
	r.weight = 3<<9 + 4*int64(h.size) // measured with small sessions and one name
	if r.grants == nil || !r.grants.met.Load() {
		r.weight += int64(len(r.applied.AccessRights)) << 10
	}
	if k.cache.admits(r.id) {
		r.used.Store(true) // or it could be the first to go
		k.cache.putResident(r, h.note)
	} else {
		r.dead.Store(true)
	}
	return r, nil
}
