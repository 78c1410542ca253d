package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// Page returns a part of the keys as List does, each with its session and its end. Keys whose session cannot be read have
// a nil Session where they would be listed whatever they are of.
func (k *Keys) Page(ctx context.Context, q Query) (list []Stored, next string, err error) {
	listed, err := k.storage.List(ctx, keyPrefix+q.Prefix, q.Cursor, q.limit())
	if err != nil {
		return nil, "", fmt.Errorf("list keys: %w", err)
	}
	entries, err := k.storage.Many(ctx, listed.Keys)
	if err != nil {
		return nil, "", fmt.Errorf("list keys: %w", err)
	}
	for i, e := range entries {
		if e.Value == nil {
			continue // it went meanwhile
		}
		found := Stored{ID: strings.TrimPrefix(listed.Keys[i], keyPrefix), Ends: e.Expires}
		if found.Session, _, err = k.shared.decodeStored(e.Value); err != nil {
			found.Session = nil
		}
		if q.wants(found.Session) {
			list = append(list, found)
		}
	}
	return list, listed.Next, nil
}

// wants reports whether a key with that session is listed.
func (q Query) wants(s *Session) bool {
	if s == nil {
		return q.AllOrgs && q.API == ""
	}
	_, granted := s.AccessRights[q.API]
	return (q.AllOrgs || s.OrgID == q.Org) && (q.API == "" || granted)
}

// Functions are what ids are made with: of new keys first, then of those that are found too.
func (k *Keys) Functions() []keyid.Function { return slices.Clip(k.functions()) }

// WriteKey is what stores a session under an id that is known already, with what finds it by its certificate; a zero end is
// never. Unlike Keys.Put it asks for nothing that is stored: it is for restoring many keys as one batch.
func WriteKey(id string, s *Session, ends time.Time) ([]store.Write, error) {
	key := keyPrefix + id
	if id == "" || len(key) > store.MaxKey {
		return nil, fmt.Errorf("%w key: an id has 1 to %d bytes", ErrInvalid, store.MaxKey-len(keyPrefix))
	}
	data, err := s.withoutCounters().bytes()
	if err != nil {
		return nil, err
	}
	writes := []store.Write{{Key: key, Entry: store.Entry{Value: data, Expires: ends}}}
	if f := s.fingerprint(); f != "" {
		index := certificateKey(s.OrgID, f)
		if len(index) > store.MaxKey {
			return nil, fmt.Errorf("%w key: its certificate has %d bytes", ErrInvalid, len(f))
		}
		writes = append(writes, store.Write{Key: index, Entry: store.Entry{Value: []byte(id)}})
	}
	return writes, nil
}

// Write is what stores a policy, for restoring many as one batch. ErrReadOnly when it stands in a file.
func (p *Policies) Write(policy *Policy) (store.Write, error) {
	if err := p.writable(policy.OrgID, policy.ID); err != nil {
		return store.Write{}, err
	}
	data, err := policy.MarshalJSON()
	if err != nil {
		return store.Write{}, err
	}
	if len(data) > MaxJSON {
		return store.Write{}, fmt.Errorf("%w policy: %d bytes of JSON, at most %d", ErrInvalid, len(data), MaxJSON)
	}
	return store.Write{Key: policyName{policy.OrgID, policy.ID}.key(), Entry: store.Entry{Value: data}}, nil
}

// Apply returns the session with the policies that it names applied, as it would be for a request. ErrPolicy when they
// cannot be.
func (p *Policies) Apply(ctx context.Context, s *Session) (*Session, error) {
	policies, err := p.find(ctx, s.OrgID, s)
	if err != nil {
		return nil, err
	}
	return Apply(s, policies)
}

// Find returns the policies of an id, of whatever organisation; none is no error.
func (p *Policies) Find(ctx context.Context, id string) ([]*Policy, error) {
	var found []*Policy
	q := Query{AllOrgs: true, Prefix: id, Limit: maxPage}
	for {
		page, err := p.List(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, policy := range page.Policies {
			if policy.ID == id && !slices.ContainsFunc(found, func(f *Policy) bool { return f.OrgID == policy.OrgID }) {
				found = append(found, policy)
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return found, nil
		}
	}
}

// ReadOnly reports whether a policy stands in a file.
func (p *Policies) ReadOnly(org, id string) bool {
	return errors.Is(p.writable(org, id), ErrReadOnly)
}
