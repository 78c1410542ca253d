package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

const writeAttempts = 16

// Ref names a key as an operator does.
type Ref struct {
	// Org is the key's organisation, unless AnyOrg.
	Org    string
	AnyOrg bool
	// Key is the token, the name of a key of that organisation or, with Hashed, the id it is stored under.
	Key    string
	Hashed bool
}

// Stored is a key and its session.
type Stored struct {
	// Token is what the caller is to present; empty where only the id is known.
	Token string
	ID    string
	// Session is as it is stored, without its policies. Treat it as read-only.
	Session *Session
	// Ends is when the store forgets it; zero is never.
	Ends time.Time
	// Added says of a write that the key is new.
	Added bool
}

// Create stores a session under a new token, or under the name in the organisation when one is said; ErrExists when that
// is there already. The session's organisation is org. What a nil error acknowledges is stored.
func (k *Keys) Create(ctx context.Context, org, name string, s *Session, l Lifetime) (Stored, error) {
	token := k.Token(org, cmp.Or(name, keyid.Random()))
	if name != "" {
		switch _, err := k.Get(ctx, Ref{Org: org, Key: name}); {
		case err == nil:
			return Stored{}, ErrExists
		case !errors.Is(err, ErrUnknown):
			return Stored{}, err
		}
	}
	return k.write(ctx, Ref{Org: org, Key: token}, k.ID(token), l, func(old *Session) (*Session, error) {
		if old != nil {
			return nil, ErrExists
		}
		return s, nil
	})
}

// Put stores a session under a key, new or not; the whole session is replaced, but for the time it was made. Of those who
// put one key at the same time, one is last and holds entirely. ErrForeign when the key or the session is of another
// organisation. What a nil error acknowledges is stored.
func (k *Keys) Put(ctx context.Context, ref Ref, s *Session, l Lifetime) (Stored, error) {
	if ref.AnyOrg {
		ref.Org = cmp.Or(s.OrgID, ref.Org)
	}
	if s.OrgID != "" && s.OrgID != ref.Org {
		return Stored{}, ErrForeign
	}
	h, err := k.resolve(ctx, ref)
	switch {
	case errors.Is(err, ErrUnknown):
		h.id = ref.Key
		if !ref.Hashed {
			if !whole(ref.Org, ref.Key) {
				ref.Key = k.Token(ref.Org, ref.Key)
			}
			h.id = k.ID(ref.Key)
		}
	case err != nil:
		return Stored{}, err
	}
	return k.write(ctx, ref, h.id, l, func(*Session) (*Session, error) { return s, nil })
}

// Update changes a session by what it is: change gets a copy of its own, several times when others write the same key.
// Its error is returned.
func (k *Keys) Update(ctx context.Context, ref Ref, l Lifetime, change func(*Session) error) (Stored, error) {
	h, err := k.resolve(ctx, ref)
	if err != nil {
		return Stored{}, err
	}
	ref.Org, ref.AnyOrg = h.session.OrgID, false
	return k.write(ctx, ref, h.id, l, func(old *Session) (*Session, error) {
		if old == nil {
			return nil, ErrUnknown
		}
		s := old.Clone()
		return s, change(s)
	})
}

// Get returns a key as it is stored.
func (k *Keys) Get(ctx context.Context, ref Ref) (Stored, error) {
	h, err := k.resolve(ctx, ref)
	if err != nil {
		return Stored{}, err
	}
	return h.stored(ref), nil
}

// Exists reports whether there is such a key.
func (k *Keys) Exists(ctx context.Context, ref Ref) (bool, error) {
	_, err := k.resolve(ctx, ref)
	if errors.Is(err, ErrUnknown) {
		return false, nil
	}
	return err == nil, err
}

// Delete removes a key. Nobody is let in with it any more when it returns, on other gateways a second later. By its id, a
// key whose session cannot be read is removed too.
func (k *Keys) Delete(ctx context.Context, ref Ref) error {
	h, err := k.resolve(ctx, ref)
	if ref.Hashed && errors.Is(err, ErrInvalid) {
		h, err = held{id: ref.Key, session: &Session{}}, nil
	}
	if err != nil {
		return err
	}
	defer k.lock(h.id)()
	found := false
	err = k.storage.Update(ctx, keyPrefix+h.id, func(old *store.Entry) (*store.Entry, error) {
		found = old != nil
		return nil, nil
	})
	if err != nil {
		return fmt.Errorf("delete %s: %w", k.public(h.id), err)
	}
	found = k.behind.waiting(h.id) != nil || found
	k.behind.drop(h.id)
	k.cache.forget(h.id)
	if !found {
		return ErrUnknown
	}
	return k.bind(ctx, h.id, h.session, &Session{})
}

// KeyPage is a part of a listing; it may be empty and still have a Next.
type KeyPage struct {
	IDs  []string // what they are stored under
	Next string   // empty after the last one
}

// List returns the ids of keys. Those of one organisation or API are found by reading all.
func (k *Keys) List(ctx context.Context, q Query) (KeyPage, error) {
	listed, err := k.storage.List(ctx, keyPrefix+q.Prefix, q.Cursor, q.limit())
	if err != nil {
		return KeyPage{}, fmt.Errorf("list keys: %w", err)
	}
	page := KeyPage{IDs: make([]string, 0, len(listed.Keys)), Next: listed.Next}
	if q.AllOrgs && q.API == "" {
		for _, key := range listed.Keys {
			page.IDs = append(page.IDs, strings.TrimPrefix(key, keyPrefix))
		}
		return page, nil
	}
	entries, err := k.storage.Many(ctx, listed.Keys)
	if err != nil {
		return KeyPage{}, fmt.Errorf("list keys: %w", err)
	}
	for i, e := range entries {
		if e.Value == nil {
			continue
		}
		s, _, err := k.shared.decodeStored(e.Value)
		if err != nil {
			continue // what cannot be read is nobody's; Get says what is wrong
		}
		if _, granted := s.AccessRights[q.API]; (q.AllOrgs || s.OrgID == q.Org) && (q.API == "" || granted) {
			page.IDs = append(page.IDs, strings.TrimPrefix(listed.Keys[i], keyPrefix))
		}
	}
	return page, nil
}

// resolve finds a key.
func (k *Keys) resolve(ctx context.Context, ref Ref) (held, error) {
	if ref.Key == "" || len(ref.Key) > maxToken {
		return held{}, ErrUnknown
	}
	ids := addID(nil, ref.Key)
	if !ref.Hashed {
		ids = k.candidates(ref.Org, ref.Key)
	}
	h, err := k.fetch(ctx, ids, func(s *Session) bool { return ref.AnyOrg || s.OrgID == ref.Org })
	if errors.Is(err, ErrUnknown) {
		return held{}, ErrUnknown
	}
	return h, err
}

func (h held) stored(ref Ref) Stored {
	s := Stored{ID: h.id, Session: h.session}
	if h.ends != 0 {
		s.Ends = time.UnixMilli(h.ends)
	}
	if !ref.Hashed {
		s.Token = ref.Key
	}
	return s
}

// write stores what change makes of the session of an id, nil when there is none. It reads, makes and writes if nothing
// has changed, again and again: making it asks for policies, which the store forbids within an update.
func (k *Keys) write(ctx context.Context, ref Ref, id string, l Lifetime, change func(*Session) (*Session, error)) (Stored, error) {
	if len(addID(nil, id)) == 0 || !ref.Hashed && len(ref.Key) < k.options.MinToken {
		return Stored{}, fmt.Errorf("%w key: a token has at least %d bytes, an id at most %d", ErrInvalid, k.options.MinToken, store.MaxKey-len(keyPrefix))
	}
	defer k.lock(id)()
	for range writeAttempts {
		old, err := k.read(ctx, id)
		if err != nil && !errors.Is(err, ErrUnknown) {
			return Stored{}, err
		}
		was := old.session
		if w := k.behind.waiting(id); w != nil {
			was = w.session
		}
		next, entry, err := k.next(ctx, ref.Org, was, l, change)
		if err != nil {
			return Stored{}, err
		}
		done, err := k.swap(ctx, id, old.sum, entry)
		if err != nil {
			return Stored{}, fmt.Errorf("write %s: %w", k.public(id), err)
		}
		if !done {
			continue
		}
		k.behind.drop(id)
		k.cache.forget(id)
		if err := k.bind(ctx, id, was, next.session); err != nil {
			return Stored{}, err
		}
		next.id = id
		stored := next.stored(ref)
		stored.Added = was == nil
		return stored, nil
	}
	return Stored{}, fmt.Errorf("write %s: %w", k.public(id), store.ErrConflict)
}

// swap writes the entry if what is stored has that sum, and reports whether it did.
func (k *Keys) swap(ctx context.Context, id string, base uint64, entry *store.Entry) (done bool, err error) {
	err = k.storage.Update(ctx, keyPrefix+id, func(old *store.Entry) (*store.Entry, error) {
		found := uint64(noneInStore)
		if old != nil {
			found = k.sum(old.Value)
		}
		if done = found == base; !done {
			return old, nil
		}
		return entry, nil
	})
	return done, err
}

// next makes the entry that replaces the session that was.
func (k *Keys) next(ctx context.Context, org string, was *Session, l Lifetime, change func(*Session) (*Session, error)) (held, *store.Entry, error) {
	if was != nil && was.OrgID != org {
		return held{}, nil, ErrForeign
	}
	changed, err := change(was)
	if err != nil {
		return held{}, nil, err
	}
	s := *changed.withoutCounters()
	s.OrgID = org
	policies, err := k.policies.find(ctx, org, &s)
	if err != nil {
		return held{}, nil, err
	}
	if _, err := Apply(&s, policies); err != nil {
		return held{}, nil, err
	}
	now := k.options.Now()
	s.begin(was, policies, now)
	data, err := s.bytes()
	if err != nil {
		return held{}, nil, err
	}
	end, _ := l.end(&s, k.options.ForceLifetime, now)
	return held{session: &s, ends: millis(end)}, &store.Entry{Value: data, Expires: end}, nil
}

// bind notes which key a certificate belongs to. It follows the write of the key: an index alone lets nobody in.
func (k *Keys) bind(ctx context.Context, id string, was, is *Session) error {
	var writes []store.Write
	if was != nil && was.fingerprint() != "" && (was.fingerprint() != is.fingerprint() || was.OrgID != is.OrgID) {
		old := certificateKey(was.OrgID, was.fingerprint())
		switch e, err := k.storage.Get(ctx, old); {
		case err == nil && string(e.Value) == id:
			writes = append(writes, store.Write{Key: old, Delete: true})
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("certificate of %s: %w", k.public(id), err)
		}
	}
	if is.fingerprint() != "" {
		writes = append(writes, store.Write{Key: certificateKey(is.OrgID, is.fingerprint()), Entry: store.Entry{Value: []byte(id)}})
	}
	if len(writes) == 0 {
		return nil
	}
	if err := k.storage.Apply(ctx, slices.Clip(writes)...); err != nil {
		return fmt.Errorf("certificate of %s: %w", k.public(id), err)
	}
	return nil
}
