package tyk

import (
	"slices"
	"strings"
)

// Status is what becomes of a classic field.
type Status string

// The statuses of fields.
const (
	// Works is translated.
	Works Status = "works"
	// Ignored has no effect here; check lists it.
	Ignored Status = "ignored"
	// Refused refuses the definition when the field asks for something.
	Refused Status = "refused"
)

// Field is a classic field and what becomes of it.
type Field struct {
	// Path is the keys of the field joined by "."; "*" stands for any key of a mapping, "[]"
	// for every element of a list.
	Path   string
	Status Status
	// Note says more: what is meant, what is left out, what to do instead.
	Note string

	// unless is a field beside this one that turns it off when it is true.
	unless string
}

// Fields lists every known classic field in the order of a definition. The slice is the caller's.
func Fields() []Field {
	return slices.Concat(identityFields(), authFields(), proxyFields(), versionFields(), pluginFields(), trafficFields())
}

func works(note string, paths ...string) []Field   { return fields(Works, note, paths) }
func ignored(note string, paths ...string) []Field { return fields(Ignored, note, paths) }
func refused(note string, paths ...string) []Field { return fields(Refused, note, paths) }

func fields(s Status, note string, paths []string) []Field {
	out := make([]Field, len(paths))
	for i, p := range paths {
		out[i] = Field{Path: p, Status: s, Note: note}
	}
	return out
}

// off marks fields that the boolean beside them turns off.
func off(unless string, fs []Field) []Field {
	for i := range fs {
		fs[i].unless = unless
	}
	return fs
}

// under puts a path before the paths of fields.
func under(prefix string, groups ...[]Field) []Field {
	out := slices.Concat(groups...)
	for i := range out {
		out[i].Path = prefix + "." + out[i].Path
	}
	return out
}

// rule is the table as a tree, for walking a document along it.
type rule struct {
	field    Field // Status is empty when only fields below it are in the table
	children map[string]*rule
}

func newRules(fs []Field) *rule {
	root := &rule{}
	for _, f := range fs {
		r := root
		for step := range strings.SplitSeq(strings.ReplaceAll(f.Path, "[]", ".[]"), ".") {
			if r.children == nil {
				r.children = map[string]*rule{}
			}
			next := r.children[step]
			if next == nil {
				next = &rule{}
				r.children[step] = next
			}
			r = next
		}
		r.field = f
	}
	return root
}

// child returns the rule for a key, compared without regard to case, or nil.
func (r *rule) child(key string) *rule {
	if c := r.children[strings.ToLower(key)]; c != nil {
		return c
	}
	for name, c := range r.children {
		if strings.EqualFold(name, key) && name != "*" && name != "[]" {
			return c
		}
	}
	return r.children["*"]
}

// keys lists the keys known below the rule.
func (r *rule) keys() []string {
	var out []string
	for k := range r.children {
		out = append(out, strings.ToLower(k))
	}
	slices.Sort(out)
	return out
}
