package archive_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/bundlestest"
)

// mutant changes a good archive in a few places, often ones that readers judge differently.
func mutant(r *rand.Rand) []byte {
	z := open3()
	for range r.IntN(3) {
		i := r.IntN(len(z.Entries))
		e := &z.Entries[i]
		value := uint16(r.Uint32())
		switch r.IntN(9) {
		case 0:
			*e = e.Both(func(h *bundlestest.Header) { h.Time, h.Date = value, value*31 })
		case 1:
			e.Central.MadeBy = value & 0xff1f
		case 2:
			e.Central.External = r.Uint32()
			if value%2 == 0 {
				e.Central.External &= 0xff // attributes of DOS alone
			}
		case 3:
			*e = e.Both(func(h *bundlestest.Header) { h.Flags ^= 1 << r.IntN(16) })
		case 4:
			names := bundlestest.Names()
			name := names[[]string{"open blank", "open letters", "open brackets", "open semicolon", "dot", "device"}[r.IntN(6)]]
			*e = bundlestest.Deflated(name, "x").Both(func(h *bundlestest.Header) { h.Flags |= value & (1 << 11) })
		case 5:
			*e = e.Both(func(h *bundlestest.Header) { h.Needed = value % 50 })
		case 6:
			*e = bundlestest.Stored(fmt.Sprint("folder", value%3, "/"), "")
		case 7:
			z.Entries = append(z.Entries, bundlestest.Streamed(fmt.Sprint("more", value%4), strings.Repeat("x", int(value%2000))))
		case 8:
			cases := bundlestest.Raw()
			if len(z.Entries) >= 3 {
				cases[r.IntN(len(cases))].Change(&z)
			}
		}
	}
	data := z.Bytes()
	for range r.IntN(3) {
		data[r.IntN(len(data))] ^= 1 << r.IntN(8)
	}
	return data
}

const pythonReader = `
import hashlib, json, os, sys, zipfile
out = {}
for name in sorted(os.listdir(sys.argv[1])):
    files = {}
    try:
        with zipfile.ZipFile(os.path.join(sys.argv[1], name)) as z:
            for i in z.infolist():
                if i.filename in files:
                    files["twice"] = i.filename
                files[i.filename] = hashlib.sha256(z.read(i)).hexdigest()
    except Exception as e:
        files = {"error": str(e)}
    out[name] = files
json.dump(out, sys.stdout)
`

// What we accept, Go's archive/zip, Python's zipfile and unzip read the same.
func TestDifferential(t *testing.T) {
	count := 300
	if os.Getenv("TURNBUCKLE_SOAK") != "" {
		count = 10_000
	}
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(6, 1))
	accepted := map[string][]byte{}
	for i := range count {
		data := mutant(r)
		if !compareWithGo(t, fmt.Sprint("mutant ", i), data) {
			continue
		}
		name := fmt.Sprintf("%05d.zip", i)
		accepted[name] = data
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if len(accepted) < count/20 {
		t.Fatalf("only %d of %d mutants are accepted: the test says little", len(accepted), count)
	}
	t.Logf("%d of %d accepted", len(accepted), count)
	t.Run("python", func(t *testing.T) { compareWithPython(t, dir, accepted) })
	t.Run("unzip", func(t *testing.T) { compareWithUnzip(t, dir, accepted) })
}

// missing skips a test for want of a program, but not in CI, where it would be skipped for ever.
func missing(t *testing.T, program string) {
	t.Helper()
	what := "there is no " + program + ": make test installs it as root on Debian (.ci/install)"
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

func compareWithPython(t *testing.T, dir string, accepted map[string][]byte) {
	python, err := exec.LookPath("python3")
	if err != nil {
		missing(t, "python3")
	}
	out, err := exec.CommandContext(t.Context(), python, "-c", pythonReader, dir).Output()
	if err != nil {
		t.Skipf("python3 does not run: %v", err)
	}
	var theirs map[string]map[string]string
	if err := json.Unmarshal(out, &theirs); err != nil {
		t.Fatal(err)
	}
	for name, data := range accepted {
		files, err := read(data, archive.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		for f, content := range files {
			files[f] = bundlestest.SHA256(content)
		}
		if fmt.Sprint(files) != fmt.Sprint(theirs[name]) {
			t.Errorf("%s: we read %v, Python %v", name, files, theirs[name])
		}
	}
}

// compareWithUnzip lets unzip unpack, as people do: what it leaves out, renames or makes a link of is a difference too.
func compareWithUnzip(t *testing.T, dir string, accepted map[string][]byte) {
	unzip, err := exec.LookPath("unzip")
	if err != nil {
		missing(t, "unzip")
	}
	tested := 0
	for name, data := range accepted {
		if tested++; tested > 100 && os.Getenv("TURNBUCKLE_SOAK") == "" {
			break
		}
		ours, err := read(data, archive.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		into := t.TempDir()
		command := exec.CommandContext(t.Context(), unzip, "-q", "-o", filepath.Join(dir, name), "-d", into)
		command.Env = []string{"UNZIP=", "LC_ALL=C.UTF-8", "PATH=" + os.Getenv("PATH")}
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("%s: we accept %q, unzip says %v: %s", name, ours, err, out)
			continue
		}
		theirs := map[string]string{}
		err = filepath.WalkDir(into, func(path string, entry os.DirEntry, err error) error {
			if err != nil || path == into {
				return err
			}
			f := filepath.ToSlash(path[len(into)+1:])
			switch {
			case entry.IsDir():
				if _, listed := ours[f+"/"]; listed {
					theirs[f+"/"] = ""
				}
				return os.Chmod(path, 0o700)
			case !entry.Type().IsRegular():
				return fmt.Errorf("%s is %v", f, entry.Type())
			}
			if err := os.Chmod(path, 0o600); err != nil {
				return err
			}
			content, err := os.ReadFile(path)
			theirs[f] = string(content)
			return err
		})
		if err == nil && strings.ContainsFunc(strings.Join(slices.Collect(maps.Keys(ours)), ""), func(r rune) bool { return r > 127 }) {
			// It reads names that the flag marks as UTF-8 as those of DOS all the same, where DOS made the archive.
			if a, b := slices.Sorted(maps.Values(ours)), slices.Sorted(maps.Values(theirs)); !slices.Equal(a, b) {
				t.Errorf("%s: we read %q, unzip %q", name, ours, theirs)
			}
			continue
		}
		if err != nil || fmt.Sprint(ours) != fmt.Sprint(theirs) {
			t.Errorf("%s: we read %q, unzip %q (%v)", name, ours, theirs, err)
		}
	}
}
