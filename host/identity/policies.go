package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

const (
	policyPrefix  = "policy/"
	maxPolicyID   = 256
	maxKnown      = 1 << 14 // policies of the store, found or missed, held in memory
	filesCursor   = "f."    // begins the cursors of listings that have not come to the store yet
	defaultPage   = 100
	maxPage       = 1000
	anyoneInFiles = "" // the organisation of policies in files that name none
)

// Storage is what of a store keys and policies need.
type Storage interface {
	store.Reader
	store.Writer
	store.Watcher
}

// Policies are those of the files that were loaded, which nobody else changes, and those of the store. It is safe for
// concurrent use.
type Policies struct {
	storage Storage
	stop    func()
	files   atomic.Pointer[map[policyName]*Policy]
	// generation goes up when anything may have changed; what was made of policies notes it before it asks for them.
	generation atomic.Uint64

	mu    sync.RWMutex
	known map[policyName]*Policy // nil when the store has none
	voids uint64                 // changes so far; a read that began before one is not kept
}

type policyName struct{ org, id string }

func (n policyName) key() string {
	return policyPrefix + url.PathEscape(n.org) + "/" + url.PathEscape(n.id)
}

// OpenPolicies begins without files. Close it before the store.
func OpenPolicies(storage Storage) *Policies {
	p := &Policies{storage: storage, known: map[policyName]*Policy{}}
	p.files.Store(&map[policyName]*Policy{})
	p.stop = storage.Watch(p.told)
	return p
}

// Close ends what Open began.
func (p *Policies) Close() { p.stop() }

// told forgets what a change may concern. Policies change rarely: it forgets all of them.
func (p *Policies) told(c store.Change) {
	if !c.All && !slices.ContainsFunc(c.Keys, func(k string) bool { return strings.HasPrefix(k, policyPrefix) }) {
		return
	}
	p.mu.Lock()
	clear(p.known)
	p.voids++
	p.mu.Unlock()
	p.generation.Add(1) // after the change can be read: who sees the new number reads the new policies
}

// SetFiles replaces the policies of files, which hold before those of the store and must not be changed any more. One
// without an organisation is every organisation's.
func (p *Policies) SetFiles(policies []*Policy) {
	files := make(map[policyName]*Policy, len(policies))
	for _, policy := range policies {
		files[policyName{policy.OrgID, policy.ID}] = policy
	}
	p.files.Store(&files)
	p.generation.Add(1)
}

func (p *Policies) file(org, id string) (*Policy, bool) {
	files := *p.files.Load()
	if policy, ok := files[policyName{org, id}]; ok {
		return policy, true
	}
	policy, ok := files[policyName{anyoneInFiles, id}]
	return policy, ok
}

// Get returns a policy of an organisation, to be read only. ErrUnknown when there is none.
func (p *Policies) Get(ctx context.Context, org, id string) (*Policy, error) {
	if policy, ok := p.file(org, id); ok {
		return policy, nil
	}
	name := policyName{org, id}
	p.mu.RLock()
	policy, ok := p.known[name]
	voids := p.voids
	p.mu.RUnlock()
	if !ok {
		var err error
		if policy, err = p.read(ctx, name); err != nil {
			return nil, err
		}
		p.keep(name, policy, voids)
	}
	if policy == nil {
		return nil, fmt.Errorf("policy %q of organisation %q: %w", id, org, ErrUnknown)
	}
	return policy, nil
}

// read returns nil when there is none.
func (p *Policies) read(ctx context.Context, name policyName) (*Policy, error) {
	if len(name.id) > maxPolicyID || len(name.key()) > store.MaxKey {
		return nil, nil
	}
	e, err := p.storage.Get(ctx, name.key())
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("policy %q: %w", name.id, err)
	}
	policy, err := DecodePolicy(e.Value)
	if err != nil {
		return nil, fmt.Errorf("policy %q in the store: %w", name.id, err)
	}
	policy.ID, policy.OrgID = name.id, name.org
	return policy, nil
}

func (p *Policies) keep(name policyName, policy *Policy, voids uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if voids != p.voids {
		return
	}
	if len(p.known) >= maxKnown {
		clear(p.known)
	}
	p.known[name] = policy
}

// find returns the policies that a session of an organisation names. Of several those that are not known are passed
// over; ErrPolicy when none is left.
func (p *Policies) find(ctx context.Context, org string, s *Session) ([]*Policy, error) {
	ids := s.Policies()
	if len(ids) == 0 {
		return nil, nil
	}
	found := make([]*Policy, 0, len(ids))
	for _, id := range ids {
		policy, err := p.Get(ctx, org, id)
		switch {
		case err == nil:
			found = append(found, policy)
		case !errors.Is(err, ErrUnknown):
			return nil, err
		case p.foreign(org, id):
			return nil, fmt.Errorf("%w: %q is of another organisation than %q", ErrPolicy, id, org)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: organisation %q has no policy %q", ErrPolicy, org, ids)
	}
	return found, nil
}

// foreign reports whether the files have a policy of that id for another organisation. Those of the store go by
// organisation and id, so that one of another organisation is simply unknown.
func (p *Policies) foreign(org, id string) bool {
	for name := range *p.files.Load() {
		if name.id == id && name.org != org {
			return true
		}
	}
	return false
}

// Put stores a policy and reports whether it is new. One without an id gets one. ErrReadOnly when it stands in a file.
func (p *Policies) Put(ctx context.Context, policy *Policy) (id string, added bool, err error) {
	stored := *policy
	stored.ID = cmp.Or(stored.ID, keyid.Random())
	if err := p.writable(stored.OrgID, stored.ID); err != nil {
		return "", false, err
	}
	data, err := stored.MarshalJSON()
	if err != nil {
		return "", false, err
	}
	if len(data) > MaxJSON {
		return "", false, fmt.Errorf("%w policy: %d bytes of JSON, at most %d", ErrInvalid, len(data), MaxJSON)
	}
	err = p.storage.Update(ctx, policyName{stored.OrgID, stored.ID}.key(), func(old *store.Entry) (*store.Entry, error) {
		added = old == nil
		return &store.Entry{Value: data}, nil
	})
	if err != nil {
		return "", false, fmt.Errorf("policy %q: %w", stored.ID, err)
	}
	return stored.ID, added, nil
}

func (p *Policies) writable(org, id string) error {
	if id == "" || len(id) > maxPolicyID || len(policyName{org, id}.key()) > store.MaxKey {
		return fmt.Errorf("%w policy: an id has 1 to %d bytes", ErrInvalid, maxPolicyID)
	}
	if _, ok := p.file(org, id); ok {
		return fmt.Errorf("policy %q: %w: change it there and reload", id, ErrReadOnly)
	}
	return nil
}

// Delete removes a policy of the store. Sessions that name it get nothing from it any more.
func (p *Policies) Delete(ctx context.Context, org, id string) error {
	if err := p.writable(org, id); err != nil {
		return err
	}
	var found bool
	err := p.storage.Update(ctx, policyName{org, id}.key(), func(old *store.Entry) (*store.Entry, error) {
		found = old != nil
		return nil, nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("policy %q: %w", id, err)
	case !found:
		return fmt.Errorf("policy %q of organisation %q: %w", id, org, ErrUnknown)
	}
	return nil
}

// Query asks for a part of a listing.
type Query struct {
	// Org bounds it to one organisation, unless AllOrgs.
	Org     string
	AllOrgs bool
	// API bounds a listing of keys to those that may use it by name.
	API string
	// Prefix is how ids begin.
	Prefix string
	// Cursor is the Next of the page before; empty begins.
	Cursor string
	// Limit is about how many a page has: 100 when it is 0, and at most 1000.
	Limit int
}

func (q Query) limit() int {
	if q.Limit <= 0 {
		return defaultPage
	}
	return min(q.Limit, maxPage)
}

// PolicyPage is a part of a listing; it may be empty and still have a Next.
type PolicyPage struct {
	Policies []*Policy // to be read only
	Next     string    // empty after the last one
}

// List returns policies: those of files first, by organisation and id, then those of the store.
func (p *Policies) List(ctx context.Context, q Query) (PolicyPage, error) {
	if q.Cursor == "" || strings.HasPrefix(q.Cursor, filesCursor) {
		return p.listFiles(ctx, q)
	}
	prefix := policyPrefix
	if !q.AllOrgs {
		prefix = policyName{q.Org, q.Prefix}.key()
	}
	cursor := strings.TrimPrefix(q.Cursor, "s.")
	listed, err := p.storage.List(ctx, prefix, cursor, q.limit())
	if err != nil {
		return PolicyPage{}, fmt.Errorf("list policies: %w", err)
	}
	var page PolicyPage
	for _, key := range listed.Keys {
		name, ok := parsePolicyKey(key)
		if _, shadowed := p.file(name.org, name.id); !ok || shadowed || !strings.HasPrefix(name.id, q.Prefix) {
			continue
		}
		switch policy, err := p.Get(ctx, name.org, name.id); {
		case err == nil:
			page.Policies = append(page.Policies, policy)
		case !errors.Is(err, ErrUnknown): // else it went meanwhile
			return PolicyPage{}, err
		}
	}
	if listed.Next != "" {
		page.Next = "s." + listed.Next
	}
	return page, nil
}

func (p *Policies) listFiles(ctx context.Context, q Query) (PolicyPage, error) {
	var names []policyName
	for name := range *p.files.Load() {
		if (q.AllOrgs || name.org == q.Org || name.org == anyoneInFiles) && strings.HasPrefix(name.id, q.Prefix) &&
			filesCursor+name.key() > q.Cursor {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		q.Cursor = "s."
		return p.List(ctx, q)
	}
	slices.SortFunc(names, func(a, b policyName) int { return strings.Compare(a.key(), b.key()) })
	page := PolicyPage{Next: "s."}
	if limit := q.limit(); len(names) > limit {
		names = names[:limit]
		page.Next = filesCursor + names[limit-1].key()
	}
	for _, name := range names {
		if policy, ok := p.file(name.org, name.id); ok {
			page.Policies = append(page.Policies, policy)
		}
	}
	return page, nil
}

func parsePolicyKey(key string) (policyName, bool) {
	org, id, ok := strings.Cut(strings.TrimPrefix(key, policyPrefix), "/")
	if !ok {
		return policyName{}, false
	}
	o, err1 := url.PathUnescape(org)
	i, err2 := url.PathUnescape(id)
	return policyName{o, i}, err1 == nil && err2 == nil
}

// expiry is when a session that is made now expires by its policies; 0 when they do not say. Of several the latest
// counts.
func expiry(policies []*Policy, now time.Time) int64 {
	var in int64
	for _, p := range policies {
		in = max(in, p.KeyExpiresIn)
	}
	if in <= 0 {
		return 0
	}
	return now.Unix() + in
}
