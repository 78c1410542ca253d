package manifest

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

// A Version is the part of a semantic version (semver 2.0.0) that orders releases.
type Version struct {
	Major, Minor, Patch uint64
	// Pre is whether there is a pre-release part, which comes before the release.
	Pre bool
}

// ParseVersion reads a semantic version without a leading v. Each number is below a million.
func ParseVersion(text string) (Version, error) {
	bad := fmt.Errorf("%.40q is not a version like 1.2.3", text)
	if len(text) > maxVersion {
		return Version{}, bad
	}
	core, build, hasBuild := strings.Cut(text, "+")
	core, pre, isPre := strings.Cut(core, "-")
	parts := strings.Split(core, ".")
	if len(parts) != 3 || isPre && !identifiers(pre) || hasBuild && !identifiers(build) {
		return Version{}, bad
	}
	var n [3]uint64
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 10, 64)
		if err != nil || v >= 1e6 || strconv.FormatUint(v, 10) != p {
			return Version{}, bad
		}
		n[i] = v
	}
	return Version{Major: n[0], Minor: n[1], Patch: n[2], Pre: isPre}, nil
}

func identifiers(text string) bool {
	for _, id := range strings.Split(text, ".") {
		if id == "" || strings.IndexFunc(id, func(r rune) bool {
			return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-')
		}) >= 0 {
			return false
		}
	}
	return true
}

// Compare orders v and w; two pre-releases of one version are equal.
func (v Version) Compare(w Version) int {
	pre := func(p bool) int {
		if p {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch), cmp.Compare(pre(v.Pre), pre(w.Pre)))
}

// SerialOf gives the serial of a release that is not told one: major × 10¹² + minor × 10⁶ + patch, so that releases
// are ordered as their versions are. Pre-releases and 0.0.0 have none.
func SerialOf(version string) (uint64, error) {
	v, err := ParseVersion(version)
	if err != nil {
		return 0, refusal.New(refusal.BuildVersion, "%w", err)
	}
	serial := v.Major*1e12 + v.Minor*1e6 + v.Patch
	if v.Pre || strings.Contains(version, "+") || serial == 0 || serial > MaxSerial {
		return 0, refusal.New(refusal.BuildVersion, "version %s does not give a serial", version)
	}
	return serial, nil
}

// Identity splits what a definition asks for into the name of a bundle and, if it asks for one, its version: the file
// acme/guard-1.2.3.zip is version 1.2.3 of acme/guard. Names of bundles do not end like that themselves.
func Identity(asked string) (name, version string) {
	name = strings.TrimSuffix(asked, ".zip")
	for i := strings.LastIndexByte(name, '/') + 1; i < len(name); i++ {
		if name[i] != '-' || i == 0 || name[i-1] == '/' {
			continue
		}
		if _, err := ParseVersion(name[i+1:]); err == nil {
			return name[:i], name[i+1:]
		}
	}
	return name, ""
}
