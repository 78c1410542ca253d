package manifest_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/bundlestest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

func TestIdentity(t *testing.T) {
	for asked, want := range map[string][2]string{
		"guard": {"guard", ""}, "guard.zip": {"guard", ""}, "guard-1.2.3.zip": {"guard", "1.2.3"}, "guard-1.2.3": {"guard", "1.2.3"},
		"acme/jwt-guard-1.2.3-rc.1.zip": {"acme/jwt-guard", "1.2.3-rc.1"}, "a-1.2.zip": {"a-1.2", ""}, "a-1.2.3/b": {"a-1.2.3/b", ""},
		"-1.2.3": {"-1.2.3", ""}, "x/-1.2.3": {"x/-1.2.3", ""}, "guard-v1.2.3": {"guard-v1.2.3", ""}, "": {"", ""},
	} {
		if name, version := manifest.Identity(asked); name != want[0] || version != want[1] {
			t.Errorf("%q: %q %q, want %q", asked, name, version, want)
		}
	}
}

func TestVersions(t *testing.T) {
	order := []string{"0.0.1", "0.1.0-a", "0.1.0", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "10.0.0"}
	for i, a := range order {
		for j, b := range order {
			va, erra := manifest.ParseVersion(a)
			vb, errb := manifest.ParseVersion(b)
			if got := va.Compare(vb); erra != nil || errb != nil || got != max(-1, min(1, i-j)) {
				t.Errorf("%s against %s: %d (%v %v)", a, b, got, erra, errb)
			}
		}
	}
	for _, bad := range []string{"", "1", "1.2", "v1.2.3", "01.2.3", "1.2.3.4", "1.2.x", "1.2.3-", "1.2.3+", "1.2.3-a..b", "1.2.3-ä", "-1.2.3", "1.2.1000000", "1.2.3/../x"} {
		if v, err := manifest.ParseVersion(bad); err == nil {
			t.Errorf("%q is %v", bad, v)
		}
	}
	for version, want := range map[string]uint64{"1.2.3": 1_000_002_000_003, "0.0.1": 1, "9007.0.0": 9_007_000_000_000_000} {
		if got, err := manifest.SerialOf(version); err != nil || got != want {
			t.Errorf("%s: %d (%v)", version, got, err)
		}
	}
	for _, bad := range []string{"0.0.0", "1.0.0-rc.1", "1.0.0+build", "9008.0.0", "x"} {
		if serial, err := manifest.SerialOf(bad); refusal.CodeOf(err) != refusal.BuildVersion {
			t.Errorf("%s: %d (%v)", bad, serial, err)
		}
	}
}

func example() manifest.Bundle {
	return manifest.Bundle{
		Schema: 2, PrefixSHA256: bundlestest.SHA256("x"), Platforms: []string{"linux/amd64"}, Requires: manifest.Requires{Host: "1.0.0", Sandbox: "strict"},
		Release: manifest.Release{Name: "a", Version: "1.0.0", Serial: 1, Epoch: 1, Created: manifest.At(time.Unix(1e9, 0))},
		Files:   []manifest.File{{Path: "plugin.yaml", SHA256: bundlestest.SHA256(""), Exec: true}},
	}
}

func FuzzBundle(f *testing.F) {
	data, err := example().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := manifest.ParseBundle(data)
		if err != nil {
			if refusal.CodeOf(err) == refusal.Internal {
				t.Errorf("no refusal: %v", err)
			}
			return
		}
		if again, err := b.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%q became %q (%v)", data, again, err)
		}
	})
}

func FuzzAdoption(f *testing.F) {
	a := manifest.Adoption{Schema: 1, Release: example().Release, ArchiveSize: 1, ArchiveSHA256: bundlestest.SHA256("a"), ManifestSHA256: bundlestest.SHA256("m")}
	data, err := a.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := manifest.ParseAdoption(data)
		if err != nil {
			return
		}
		if again, err := a.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%q became %q (%v)", data, again, err)
		}
	})
}
