package rules

import (
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Versions chooses the version of an API that a request asks for. Every error it returns is an [*sdk.Error] with status
// 403, and the event that goes with it is [sdk.EventVersionFailure].
type Versions struct {
	in       config.VersionLocation
	key      string
	names    map[string]int
	fallback int // index of the default version; -1: none
	expires  []time.Time
	strip    bool
}

// CompileVersions compiles what config has validated: indices are those of v.List. The zero config.Versions is one version
// that serves everything.
func CompileVersions(v config.Versions) *Versions {
	c := &Versions{in: v.In, key: v.Key, names: make(map[string]int, len(v.List)), fallback: -1, strip: v.Strip}
	for i, version := range v.List {
		if _, taken := c.names[version.Name]; !taken {
			c.names[version.Name] = i
		}
		c.expires = append(c.expires, version.Expires)
	}
	switch i, ok := c.names[v.Default]; {
	case v.In == config.VersionNone:
		c.fallback = 0
	case v.Default != "" && ok:
		c.fallback = i
	}
	return c
}

// Pick returns the index of the version that the request asks for. A request that names none gets the default, or the
// error "Version information not found" where there is none; one that names an unknown version, or two different ones,
// is refused, and so is a version from the instant it expires. In the path the version is the first segment behind the
// listen path; a path that can be read in several ways has to name one version in all of them. What names the version is
// left where it is (see Strip).
func (v *Versions) Pick(x *sdk.Exchange, listenPath string, now time.Time) (index int, err error) {
	switch r := x.Request(); v.in {
	case config.VersionInHeader:
		index, err = v.header(r.Header())
	case config.VersionInQuery:
		index, err = v.query(r.Query())
	case config.VersionInPath:
		index, err = v.path(rooted(TrimListenPath(r.Path(), listenPath, true)))
	default:
		index, err = v.named("")
	}
	if err != nil {
		return -1, err
	}
	if index < len(v.expires) {
		if at := v.expires[index]; !at.IsZero() && !now.Before(at) {
			return -1, sdk.Errorf(403, "This API version has expired")
		}
	}
	return index, nil
}

func (v *Versions) named(name string) (int, error) {
	if name == "" {
		if v.fallback < 0 {
			return -1, sdk.Errorf(403, "Version information not found")
		}
		return v.fallback, nil
	}
	if i, ok := v.names[name]; ok {
		return i, nil
	}
	return -1, unknownVersion()
}

func unknownVersion() *sdk.Error {
	return sdk.Errorf(403, "This API version does not seem to exist")
}

// header reads the version from its field. Two values that differ are refused: the upstream might heed the other one.
func (v *Versions) header(h *sdk.Header) (int, error) {
	name, seen := "", false
	for _, f := range h.Fields() {
		if !sdk.EqualFold(f.Name, v.key) {
			continue
		}
		if seen && f.Value != name {
			return -1, unknownVersion()
		}
		name, seen = f.Value, true
	}
	return v.named(name)
}

func (v *Versions) query(q *sdk.Query) (int, error) {
	if q.Raw() == "" {
		return v.named("")
	}
	name, seen := "", false
	for key, value := range q.All() {
		if key != v.key {
			continue
		}
		if seen && value != name {
			return -1, unknownVersion()
		}
		name, seen = value, true
	}
	return v.named(name)
}

func (v *Versions) path(path string) (int, error) {
	if plain(path) {
		return v.named(firstSegment(path))
	}
	r := read(path)
	if r.hostile {
		return -1, unknownVersion()
	}
	index := -1
	for _, form := range r.forms {
		i, err := v.named(firstSegment(form))
		if err != nil {
			return -1, err
		}
		if index >= 0 && i != index {
			return -1, unknownVersion()
		}
		index = i
	}
	return index, nil
}

// Strip removes what names the version, where the API asks for it: every field or parameter of the key, or the first
// segment behind the listen path. Pick has accepted the request.
func (v *Versions) Strip(x *sdk.Exchange, listenPath string) {
	if !v.strip {
		return
	}
	switch r := x.Request(); v.in {
	case config.VersionInHeader:
		r.Header().Remove(v.key)
	case config.VersionInQuery:
		r.Query().Del(v.key)
	case config.VersionInPath:
		r.SetPath(v.without(r.Path(), listenPath))
	}
}

// without cuts the version's segment out of a path, whose other bytes stay as they came. Behind an empty first segment
// there is no version: Pick took the default.
func (v *Versions) without(path, listenPath string) string {
	rest := TrimListenPath(path, listenPath, true)
	if !strings.HasSuffix(path, rest) {
		rest = rest[1:] // the slash that was put before what prefix matching left
	}
	before, segment := path[:len(path)-len(rest)], firstSegment(rest)
	if segment == "" {
		return path
	}
	return rooted(before + strings.TrimPrefix(rest, "/")[len(segment):])
}
