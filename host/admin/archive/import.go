package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/folder"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/orgs"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// maxProblems are listed of what is wrong with an archive.
const maxProblems = 20

// RefusedError says why nothing of an archive was restored.
type RefusedError struct {
	Problems []string
	More     int // beyond those
}

// Error lists the problems.
func (e *RefusedError) Error() string {
	text := "nothing was restored: " + strings.Join(e.Problems, "; ")
	if e.More > 0 {
		text += fmt.Sprintf("; and %d more", e.More)
	}
	return text
}

// Restored is what an import did. What was there under the same ids has been replaced; what else was there is still.
type Restored struct {
	Counts
	// Ended are keys of the archive whose time has come, and Kept policies that stand in files of this gateway: neither
	// is written.
	Ended int `json:"ended"`
	Kept  int `json:"kept"`
}

// plan is an archive that has been read and checked, and waits to be applied.
type plan struct {
	g         *Gateway
	only      []Kind
	done      Restored
	writes    []store.Write
	documents []folder.Document
	problems  RefusedError
}

// Import restores an archive, or of its kinds those of only when there are any. Everything is read and checked first; then
// definitions are written beside their places, keys, policies and organisations are written as one batch, and the
// definitions are put into place. *RefusedError and ErrFormat say that nothing has changed.
//
// What is stored changes as a whole or not at all, but for a Redis cluster, where an error of the store can leave a part
// behind. So it is when the process dies, or the disk refuses, between the batch and the definitions. Importing the
// archive again completes it.
func (g *Gateway) Import(ctx context.Context, from io.Reader, only ...Kind) (Restored, error) {
	r, err := NewReader(from)
	if err != nil {
		return Restored{}, err
	}
	p := &plan{g: g, only: only}
	p.header(r.Header)
	for {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Restored{}, err
		}
		if err := ctx.Err(); err != nil {
			return Restored{}, err
		}
		if p.wants(record.Kind) {
			p.add(r.Line(), record)
		}
	}
	return p.apply(ctx)
}

func (p *plan) wants(k Kind) bool { return len(p.only) == 0 || slices.Contains(p.only, k) }

func (p *plan) refuse(format string, args ...any) {
	if len(p.problems.Problems) >= maxProblems {
		p.problems.More++
		return
	}
	p.problems.Problems = append(p.problems.Problems, fmt.Sprintf(format, args...))
}

// header refuses keys whose ids this gateway would not find.
func (p *plan) header(h Header) {
	if !p.wants(KindKey) {
		return
	}
	var ours []string
	for _, f := range p.g.Keys.Functions() {
		ours = append(ours, string(f))
	}
	for _, theirs := range h.Hashes {
		if !slices.Contains(ours, theirs) {
			p.refuse("ids of its keys are made with %s, and here with %s: set keys.hash or keys.hash_fallback to have both", theirs, strings.Join(ours, ", "))
		}
	}
}

// add checks a record, and plans what it asks for.
func (p *plan) add(line int, r Record) {
	var writes []store.Write
	var err error
	switch r.Kind {
	case KindOrg:
		writes, err = p.org(r)
	case KindAPI:
		err = p.api(r)
	case KindPolicy:
		writes, err = p.policy(r)
	case KindKey:
		writes, err = p.key(r)
	}
	if err != nil {
		p.refuse("line %d: %s", line, err)
		return
	}
	p.writes = append(p.writes, writes...)
}

func (p *plan) org(r Record) ([]store.Write, error) {
	s, err := identity.DecodeSession(r.Session)
	if err != nil {
		return nil, fmt.Errorf("organisation %.40q: %w", r.ID, err)
	}
	w, err := orgs.Write(r.ID, s)
	if err != nil {
		return nil, err
	}
	p.done.Orgs++
	return []store.Write{w}, nil
}

func (p *plan) api(r Record) error {
	switch {
	case p.g.Folder == nil:
		return errors.New("this gateway has no folder of API definitions: import with only=org,policy,key")
	case r.ID == "" || r.File == "" || r.Text == "":
		return errors.New("an API needs id, file and text")
	}
	p.documents = append(p.documents, folder.Document{ID: r.ID, File: r.File, Text: []byte(r.Text)})
	p.done.APIs++
	return nil
}

func (p *plan) policy(r Record) ([]store.Write, error) {
	policy, err := identity.DecodePolicy(r.Policy)
	if err != nil {
		return nil, fmt.Errorf("policy %.40q: %w", r.ID, err)
	}
	policy.ID, policy.OrgID = r.ID, r.Org
	if _, err := identity.Apply(&identity.Session{}, []*identity.Policy{policy}); err != nil {
		return nil, err
	}
	w, err := p.g.Policies.Write(policy)
	if errors.Is(err, identity.ErrReadOnly) {
		p.done.Kept++
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p.done.Policies++
	return []store.Write{w}, nil
}

func (p *plan) key(r Record) ([]store.Write, error) {
	s, err := identity.DecodeSession(r.Session)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if !r.Expires.IsZero() && !p.g.Now().Before(r.Expires) {
		p.done.Ended++
		return nil, nil
	}
	writes, err := identity.WriteKey(r.ID, s, r.Expires)
	if err != nil {
		return nil, err
	}
	p.done.Keys++
	return writes, nil
}

func (p *plan) apply(ctx context.Context) (Restored, error) {
	var staged *folder.Staged
	if p.g.Folder != nil {
		var err error
		var refused *folder.RefusedError
		staged, err = p.g.Folder.Stage(ctx, p.documents)
		switch {
		case errors.As(err, &refused):
			for _, problem := range refused.Problems {
				p.refuse("%s", problem.Error())
			}
		case errors.Is(err, folder.ErrName), errors.Is(err, folder.ErrElsewhere), errors.Is(err, folder.ErrExists):
			p.refuse("%s", err)
		case err != nil:
			return Restored{}, err
		}
	}
	if len(p.problems.Problems) > 0 {
		if staged != nil {
			staged.Abort()
		}
		return Restored{}, &p.problems
	}
	if len(p.writes) > 0 {
		// In the order of their keys: the embedded store puts each into its place among all of a batch. Of two writes of one
		// key the later stays the later.
		slices.SortStableFunc(p.writes, func(a, b store.Write) int { return strings.Compare(a.Key, b.Key) })
		if err := p.g.Store.Apply(ctx, p.writes...); err != nil {
			if staged != nil {
				staged.Abort()
			}
			return Restored{}, fmt.Errorf("import: %w", err)
		}
	}
	if staged != nil {
		if err := staged.Commit(); err != nil {
			return Restored{}, fmt.Errorf("keys, policies and organisations are restored, definitions not or in part: import the archive again: %w", err)
		}
	}
	return p.done, nil
}
