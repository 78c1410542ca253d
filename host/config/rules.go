package config

import "time"

// Rules are what may differ between the versions of an API: which paths it serves and how
// messages are changed.
type Rules struct {
	Paths PathLists `yaml:"paths"`
	// PathLimits bounds request bodies on some paths; the first match holds.
	PathLimits []PathLimit `yaml:"path_limits"`
	// PathTimeouts bounds the exchange on some paths; the first match holds.
	PathTimeouts []PathTimeout `yaml:"path_timeouts"`
	// PathRates bounds how often some paths are asked for, whoever asks; the first match holds.
	PathRates []PathRate       `yaml:"path_rates"`
	Headers   HeaderTransforms `yaml:"headers"`
	// Virtual are the paths that functions of scripts answer; the first match holds. Native definitions have hooks.
	Virtual []VirtualEndpoint `yaml:"-"`
}

func (r Rules) join(v Rules) Rules {
	return Rules{
		Paths: PathLists{
			Ignored: concat(r.Paths.Ignored, v.Paths.Ignored),
			Allow:   concat(r.Paths.Allow, v.Paths.Allow),
			Block:   concat(r.Paths.Block, v.Paths.Block),
		},
		// A version's own limit is more particular than the API's, and the first match holds.
		PathLimits:   concat(v.PathLimits, r.PathLimits),
		PathTimeouts: concat(v.PathTimeouts, r.PathTimeouts),
		PathRates:    concat(v.PathRates, r.PathRates),
		Virtual:      concat(v.Virtual, r.Virtual),
		Headers: HeaderTransforms{
			Request:  r.Headers.Request.join(v.Headers.Request),
			Response: r.Headers.Response.join(v.Headers.Response),
			Paths:    concat(r.Headers.Paths, v.Headers.Paths),
		},
	}
}

func concat[T any](a, b []T) []T {
	if len(a)+len(b) == 0 {
		return nil
	}
	return append(append(make([]T, 0, len(a)+len(b)), a...), b...)
}

// PathLists say which paths need no auth, which exist at all, and which are forbidden. A block
// wins over an allow; a non-empty Allow forbids whatever it does not match.
type PathLists struct {
	// Ignored paths skip authentication and what depends on it; other hooks still run.
	Ignored []PathMatch `yaml:"ignored"`
	Allow   []PathMatch `yaml:"allow"`
	Block   []PathMatch `yaml:"block"`
}

// PathMatch chooses requests by path and method.
type PathMatch struct {
	Path Pattern `yaml:"path"`
	// Methods are upper case; empty means every method.
	Methods []string `yaml:"methods"`
	// IgnoreCase compares the path without regard to case.
	IgnoreCase bool `yaml:"ignore_case"`
}

// PathLimit bounds the request body on the matching paths.
type PathLimit struct {
	PathMatch `yaml:",inline"`
	Body      Size `yaml:"body,positive"`
}

// PathTimeout bounds the whole exchange with the upstream on the matching paths (504 after it).
type PathTimeout struct {
	PathMatch `yaml:",inline"`
	Total     time.Duration `yaml:"total,positive"`
}

// PathRate bounds the requests on the matching paths, all of them together.
type PathRate struct {
	PathMatch `yaml:",inline"`
	Rate      `yaml:",inline"`
}

// HeaderTransforms change the headers of messages: Request and Response on every path, Paths on
// some. A removal comes before a set.
type HeaderTransforms struct {
	Request  HeaderChange       `yaml:"request"`
	Response HeaderChange       `yaml:"response"`
	Paths    []PathHeaderChange `yaml:"paths"`
}

// HeaderChange removes and then sets headers.
type HeaderChange struct {
	Remove []string `yaml:"remove"`
	// Set replaces all values of each header.
	Set Headers `yaml:"set"`
}

func (c HeaderChange) join(v HeaderChange) HeaderChange {
	return HeaderChange{Remove: concat(c.Remove, v.Remove), Set: concat(c.Set, v.Set)}
}

// PathHeaderChange is a HeaderChange for some requests and their responses.
type PathHeaderChange struct {
	PathMatch `yaml:",inline"`
	Request   HeaderChange `yaml:"request"`
	Response  HeaderChange `yaml:"response"`
}

// Headers are name-value pairs in the order of the file. In YAML they are a mapping; a list as
// value gives several headers of one name.
type Headers []Header

// Header is one header field. Name is a token and Value has no CR, LF or NUL (RFC 9110, 5.5).
type Header struct{ Name, Value string }

// Versions says how a request names the version it wants.
type Versions struct {
	// In is where the version is read; empty means that the API is not versioned and List has
	// exactly one entry, which serves everything and still may expire.
	In VersionLocation `yaml:"in"`
	// Key is the header or parameter name; unused when In is VersionInPath, where the version is
	// the first segment after the listen path.
	Key string `yaml:"key"`
	// Default is the version of a request that names none; empty refuses such a request.
	Default string `yaml:"default"`
	// Strip removes the version (header, parameter or path segment) before forwarding.
	Strip bool      `yaml:"strip"`
	List  []Version `yaml:"list"`
}

// VersionLocation is where a request names its version.
type VersionLocation string

// The places a version can be read from.
const (
	VersionNone     VersionLocation = ""
	VersionInHeader VersionLocation = "header"
	VersionInPath   VersionLocation = "path"
	VersionInQuery  VersionLocation = "query"
)

// UnmarshalText accepts the named places.
func (l *VersionLocation) UnmarshalText(text []byte) error {
	return oneOf(l, text, VersionInHeader, VersionInPath, VersionInQuery)
}

// Version is one version of an API.
type Version struct {
	Name string `yaml:"name"`
	// Expires, when not zero, is the instant from which the version is refused (UTC).
	Expires time.Time `yaml:"expires"`
	// Target replaces the targets of the upstream when it is not empty.
	Target string `yaml:"target"`
	Rules  `yaml:",inline"`
}
