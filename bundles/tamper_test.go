package bundles_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
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

// While somebody swaps files, links and folders under the loader, what it loads is what was verified.
func TestSwaps(t *testing.T) {
	key := newKey(t, sign.Ed25519)
	good := buildGuard(t, guardOptions(), key)
	evilZip := bytes.Clone(good)
	copy(evilZip[bytes.Index(evilZip, []byte("lib-b/b.lua")):], "lib-c")
	outside := t.TempDir()
	dir := filepath.Join(t.TempDir(), "plugins")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "guard.zip")
	for name, data := range map[string][]byte{path: good, filepath.Join(outside, "evil.zip"): evilZip, filepath.Join(outside, "guard.zip"): evilZip} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var attacker sync.WaitGroup
	attacker.Go(func() { swap(ctx, dir, outside, good, evilZip) })
	v := newVerifier(t, key)
	from := source.NewFolder(dir, source.DefaultLimits())
	loads, loaded := 10_000/sample(40), 0
	tries := 0
	for ; loaded < loads; tries++ {
		got, err := from.Fetch(t.Context(), "guard", "")
		if err != nil {
			continue
		}
		b, err := v.Verify(bundles.Request{Name: "guard", Archive: got.Archive})
		if err != nil {
			continue
		}
		loaded++
		program, err := b.Program("bin/guard")
		if err != nil {
			t.Fatal(err)
		}
		run := make([]byte, 100)
		n, _ := program.ReadAt(run, 0)
		if want := guardFiles()["bin/guard"]; string(run[:n]) != want {
			t.Errorf("would execute %q", run[:n])
		}
		if err := program.Close(); err != nil {
			t.Error(err)
		}
		for _, f := range b.Files() {
			if content := must[[]byte](t)(b.ReadFile(f.Path)); bundlestest.SHA256(string(content)) != f.SHA256 {
				t.Errorf("%s is %q", f.Path, content)
			}
		}
	}
	stop()
	attacker.Wait()
	t.Logf("%d of %d tries met a good bundle", loaded, tries)
}

// swap changes what lies at guard.zip in dir, in place and by name, until the context ends.
func swap(ctx context.Context, dir, outside string, good, evil []byte) {
	path, next := filepath.Join(dir, "guard.zip"), filepath.Join(dir, "next")
	for i := 0; ctx.Err() == nil; i++ {
		switch i % 12 {
		case 0:
			_ = os.WriteFile(path, evil, 0o600)
		case 1:
			_ = os.Symlink(filepath.Join(outside, "evil.zip"), next)
			_ = os.Rename(next, path)
		case 2:
			_ = os.Rename(dir, dir+".old")
			_ = os.Symlink(outside, dir)
			_ = os.Remove(dir)
			_ = os.Rename(dir+".old", dir)
		case 3:
			_ = os.Remove(path)
			_ = os.Mkdir(path, 0o700)
			_ = os.Remove(path)
		default:
			_ = os.WriteFile(next, good, 0o600)
			_ = os.Rename(next, path)
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
