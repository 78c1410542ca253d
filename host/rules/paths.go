package rules

import (
	"fmt"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Verdict is what path lists say about a request.
type Verdict uint8

// The verdicts.
const (
	Allowed   Verdict = iota
	Ignored           // goes on without authentication and what depends on it; other hooks still run
	Forbidden         // refused with [ErrForbidden]
)

// String returns the verdict's name.
func (v Verdict) String() string {
	switch v {
	case Ignored:
		return "ignored"
	case Forbidden:
		return "forbidden"
	}
	return "allowed"
}

// ErrForbidden returns the reply to a forbidden request; the event is [sdk.EventVersionFailure].
func ErrForbidden() *sdk.Error {
	return &sdk.Error{Status: 403, Message: "Requested endpoint is forbidden"}
}

// Paths are the path lists of one version of an API.
type Paths struct {
	ignored, allow, block *matcher
}

// CompilePaths compiles lists; nil when all are empty.
func CompilePaths(lists config.PathLists) (*Paths, error) {
	var p Paths
	for _, list := range []struct {
		name    string
		matches []config.PathMatch
		m       **matcher
	}{{"ignored", lists.Ignored, &p.ignored}, {"allow", lists.Allow, &p.allow}, {"block", lists.Block, &p.block}} {
		m, err := newMatcher(list.matches)
		if err != nil {
			return nil, fmt.Errorf("paths.%s: %w", list.name, err)
		}
		*list.m = m
	}
	if p == (Paths{}) {
		return nil, nil
	}
	return &p, nil
}

// Check says what becomes of a request. path is without the listen path, its escapes as they came. Block comes first,
// then ignored, then allow: an ignored path need not be in a list of allowed ones. Any reading of the path that is
// blocked blocks it; it is ignored or allowed when all readings are (see the package comment).
func (p *Paths) Check(method, path string) Verdict {
	if p == nil {
		return Allowed
	}
	path = rooted(path)
	if plain(path) {
		return p.checkPlain(method, path)
	}
	r := read(path)
	if r.hostile && (p.allow != nil || p.block != nil) {
		return Forbidden
	}
	verdict := Ignored
	for _, form := range r.forms {
		if p.block != nil && p.block.blocks(method, form) {
			return Forbidden
		}
		if p.ignored == nil || r.hostile || p.ignored.first(method, form) < 0 {
			verdict = Allowed
		}
	}
	if verdict == Ignored || p.allow == nil {
		return verdict
	}
	for _, form := range r.forms {
		if p.allow.first(method, form) < 0 {
			return Forbidden
		}
	}
	return Allowed
}

func (p *Paths) checkPlain(method, path string) Verdict {
	switch {
	case p.block != nil && p.block.blocks(method, path):
		return Forbidden
	case p.ignored != nil && p.ignored.first(method, path) >= 0:
		return Ignored
	case p.allow != nil && p.allow.first(method, path) < 0:
		return Forbidden
	}
	return Allowed
}
