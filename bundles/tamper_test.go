package bundles_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/bundlestest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
)

func soak() bool { return os.Getenv("TURNBUCKLE_SOAK") != "" }

// sample is n, so that a loop takes one step in n, and 1 in make soak.
func sample(n int) int {
	if soak() {
		return 1
	}
	return n
}

// No single bit of a bundle can be flipped, and none of its lengths is accepted cut off or with something behind it.
func TestBitFlips(t *testing.T) {
	key := newKey(t, sign.Ed25519)
	dir := writeFiles(t, guardFiles())
	noise := make([]byte, 60<<10)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	if err := os.WriteFile(filepath.Join(dir, "noise.bin"), noise, 0o600); err != nil {
		t.Fatal(err)
	}
	data := must[[]byte](t)(bundles.Sign(must[[]byte](t)(bundles.Build(dir, guardOptions())), key, limits()))
	prefix, _, err := archive.Tail(data, limits())
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, key)
	v.State = nil
	changed := bytes.Clone(data)
	for i := 0; i < len(data)*8; {
		changed[i/8] ^= 1 << (i % 8)
		if _, err := v.Verify(bundles.Request{Name: "guard", Archive: changed}); err == nil {
			t.Fatalf("bit %d of byte %d of %d can be flipped", i%8, i/8, len(data))
		}
		changed[i/8] ^= 1 << (i % 8)
		// In the files, one digest covers all bits alike; behind them each has a check of its own.
		if i < len(prefix)*8 {
			i += sample(997)
		} else {
			i += sample(7)
		}
	}
	for cut := 1; cut < len(data); cut += sample(1999) {
		if _, err := v.Verify(bundles.Request{Name: "guard", Archive: data[:len(data)-cut]}); err == nil {
			t.Fatalf("cut by %d bytes", cut)
		}
	}
	if _, err := v.Verify(bundles.Request{Name: "guard", Archive: append(bytes.Clone(data), 0)}); err == nil {
		t.Error("a byte behind the end")
	}
}

// attackerVariable makes this test binary the attacker: it holds what to swap.
const attackerVariable = "TURNBUCKLE_TEST_ATTACK"

// TestMain makes this test binary also the process that attacks the loader.
func TestMain(m *testing.M) {
	if text := os.Getenv(attackerVariable); text != "" {
		var a attack
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			panic(err)
		}
		a.run(os.Stdin)
		return
	}
	m.Run()
}

// An attack swaps what lies at Paths, between what is in Good and what is in Evil, and folders for links to Outside.
type attack struct {
	Paths      []string
	Good, Evil []byte
	Outside    string
}

// run attacks until the other end of the pipe is closed.
func (a attack) run(until io.Reader) {
	var over atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, until)
		over.Store(true)
	}()
	for i := 0; !over.Load(); i++ {
		a.swap(a.Paths[i%len(a.Paths)], i/len(a.Paths))
	}
}

// swap changes what lies at a path, in place and by name.
func (a attack) swap(path string, i int) {
	dir := filepath.Dir(path)
	next := filepath.Join(dir, "next")
	switch i % 12 {
	case 0:
		_ = os.WriteFile(path, a.Evil, 0o600)
	case 1:
		_ = os.Symlink(filepath.Join(a.Outside, "evil.zip"), next)
		_ = os.Rename(next, path)
	case 2:
		_ = os.Rename(dir, dir+".old")
		_ = os.Symlink(a.Outside, dir)
		_ = os.Remove(dir)
		_ = os.Rename(dir+".old", dir)
	case 3:
		_ = os.Remove(path)
		_ = os.Mkdir(path, 0o700)
		_ = os.Remove(path)
	case 4:
		if file, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil { // while it is read, perhaps
			_, _ = file.WriteAt(a.Evil, 0)
			_ = file.Truncate(int64(len(a.Evil) / 2))
			_ = file.Close()
		}
	default:
		_ = os.WriteFile(next, a.Good, 0o600)
		_ = os.Rename(next, path)
	}
}

// start runs the attack in a process of its own until the test ends.
func (a attack) start(t *testing.T) (stop func()) {
	t.Helper()
	command := exec.CommandContext(t.Context(), must[string](t)(os.Executable()))
	command.Env = append(os.Environ(), attackerVariable+"="+string(must[[]byte](t)(json.Marshal(a))))
	pipe := must[io.WriteCloser](t)(command.StdinPipe())
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(pipe.Close(), command.Wait()); err != nil {
			t.Errorf("the attacker: %v", err)
		}
	}
}

// While another process swaps files, links and folders under the loader, in the folder of bundles and in the cache, what is
// executed is what was verified: each plugin that was loaded is run.
func TestSwaps(t *testing.T) {
	key := newKey(t, sign.Ed25519)
	good := buildGuard(t, guardOptions(), key)
	files := guardFiles()
	files["bin/guard"] = "#!/bin/sh\necho evil!\n"
	evil := must[[]byte](t)(bundles.Build(writeFiles(t, files), guardOptions()))
	outside := t.TempDir()
	dir := filepath.Join(t.TempDir(), "plugins")
	from := source.NewFolder(dir, source.DefaultLimits())
	fromCache, cached := cachedSource(t, good)
	for path, data := range map[string][]byte{
		filepath.Join(dir, "guard.zip"): good, filepath.Join(outside, "evil.zip"): evil, filepath.Join(outside, "guard.zip"): evil,
		filepath.Join(outside, filepath.Base(cached)): evil,
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	stop := attack{Paths: []string{filepath.Join(dir, "guard.zip"), cached}, Good: good, Evil: evil, Outside: outside}.start(t)
	defer stop()
	v := newVerifier(t, key)
	loads, loaded, tries := 10_000/sample(40), 0, 0
	for ; loaded < loads; tries++ {
		var next source.Source = from
		if tries%2 == 1 {
			next = fromCache
		}
		got, err := next.Fetch(t.Context(), "guard", "")
		if err != nil {
			continue
		}
		b, err := v.Verify(bundles.Request{Name: "guard", Archive: got.Archive})
		if err != nil {
			continue
		}
		loaded++
		checkLoaded(t, b, loaded)
	}
	t.Logf("%d of %d tries met a good bundle, and each was run", loaded, tries)
}

// cachedSource is a server that is down, of which a bundle is in the cache, and where it is there.
func cachedSource(t *testing.T, data []byte) (source.Source, string) {
	t.Helper()
	dir := t.TempDir()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }))
	o := source.HTTPOptions{
		Limits: source.DefaultLimits(), AllowPlainHTTP: true, Attempts: 1, Cache: must[*source.Cache](t)(source.NewCache(dir)),
	}
	s := must[source.Source](t)(source.Open(server.URL, o))
	t.Cleanup(func() { _ = s.Close() })
	got := must[source.Fetched](t)(s.Fetch(t.Context(), "guard", ""))
	if err := got.Keep(); err != nil {
		t.Fatal(err)
	}
	server.Close()
	return s, filepath.Join(dir, "sha256", bundlestest.SHA256(string(data)))
}

// checkLoaded runs what was loaded, now from sealed memory and now from a folder, and reads its files.
func checkLoaded(t *testing.T, b *bundles.Bundle, turn int) {
	t.Helper()
	var command *exec.Cmd
	program, err := b.Program("bin/guard")
	switch {
	case err == nil && turn%2 == 0:
		command = exec.CommandContext(t.Context(), "/proc/self/fd/3")
		command.ExtraFiles = []*os.File{program}
	case err == nil || errors.Is(err, errors.ErrUnsupported):
		folder := must[*bundles.Folder](t)(b.Unpack(t.TempDir()))
		defer func() {
			if err := folder.Close(); err != nil {
				t.Error(err)
			}
		}()
		command = exec.CommandContext(t.Context(), filepath.Join(folder.Dir(), "bin", "guard"))
	default:
		t.Fatal(err)
	}
	if out, err := command.CombinedOutput(); err != nil || string(out) != "guard\n" {
		t.Errorf("executed: %q (%v)", out, err)
	}
	if program != nil {
		if err := program.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, f := range b.Files() {
		if content := must[[]byte](t)(b.ReadFile(f.Path)); bundlestest.SHA256(string(content)) != f.SHA256 {
			t.Errorf("%s is %q", f.Path, content)
		}
	}
}

// Nobody without the key makes anything that is accepted.
func FuzzVerify(f *testing.F) {
	key := newKey(f, sign.Ed25519)
	good := buildGuard(f, guardOptions(), key)
	f.Add(good)
	for _, c := range bundlestest.Corpus(f, key, newKey(f, sign.Ed25519), now()) {
		if len(c.Data) < 4096 {
			f.Add(c.Data)
		}
	}
	v := newVerifier(f, key)
	v.State = nil
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := v.Verify(bundles.Request{Name: "guard", Archive: data})
		if err == nil && !bytes.Equal(data, good) {
			t.Errorf("accepted %+v", b.Verdict())
		}
	})
}
