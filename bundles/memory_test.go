package bundles_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/bundlestest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/tyk"
)

// A hostile is a mebibyte that somebody made to be expensive.
type hostile struct {
	name string
	data []byte
	read func(data []byte) error
}

func hostiles(t *testing.T) []hostile {
	const size = 1 << 20
	fill := func(before, unit, after string) []byte {
		return []byte(before + strings.Repeat(unit, (size-len(before)-len(after))/len(unit)) + after)
	}
	members := func(before, after string) []byte {
		var b bytes.Buffer
		b.WriteString(before)
		for i := 0; b.Len() < size-20-len(after); i++ {
			fmt.Fprintf(&b, `"%x":0,`, i)
		}
		return append(bytes.TrimSuffix(b.Bytes(), []byte(",")), after...)
	}
	readers := map[string]func(data []byte) error{
		"envelope": func(data []byte) error {
			_, err := sign.DecodeEnvelope(data, manifest.BundleType, 2*size)
			return err
		},
		"manifest":   func(data []byte) error { _, err := manifest.ParseBundle(data); return err },
		"adoption":   func(data []byte) error { _, err := manifest.ParseAdoption(data); return err },
		"key ring":   func(data []byte) error { _, err := trust.ParseKeyRing(data); return err },
		"policy":     func(data []byte) error { _, err := trust.ParsePolicy(data); return err },
		"index":      func(data []byte) error { _, err := trust.ParseIndex(data); return err },
		"state":      func(data []byte) error { _, err := trust.ParseState(data); return err },
		"of Tyk":     func(data []byte) error { _, err := tyk.ParseManifest(data); return err },
		"public key": func(data []byte) error { _, err := sign.ParsePublicKey(data); return err },
	}
	var all []hostile
	shapes := map[string][]byte{
		"lists":      fill(`{"files":[`, `[],`, `[]]}`),
		"deep lists": fill("", "[", ""),
		"members":    members("{", "}"),
		"objects":    fill(`{"keys":[`, `{},`, `{}]}`),
		"files":      fill(`{"files":[`, `{"path":"a","size":1,"sha256":""},`, `{}]}`),
		"signatures": fill(`{"payloadType":"x","payload":"","signatures":[`, `{"keyid":"a","sig":"AA=="},`, `{}]}`),
		"escapes":    fill(`{"name":"`, `\u0041`, `"}`),
		"names":      fill(`{"file_list":[`, `"a",`, `"b"]}`),
		"numbers":    fill(`{"x":[`, `1,`, `1]}`),
		"PEM":        fill("", "-----BEGIN PUBLIC KEY-----\n", ""),
		"base64":     fill(`{"payloadType":"x","payload":"`, base64.StdEncoding.EncodeToString([]byte("abc")), `","signatures":[]}`),
	}
	// The worst ones always, and some of the others: all of them take a while under the race detector.
	worst := []string{"key ring, objects", "manifest, lists", "index, members", "envelope, signatures"}
	for i, reader := range slices.Sorted(maps.Keys(readers)) {
		for j, shape := range slices.Sorted(maps.Keys(shapes)) {
			if name := reader + ", " + shape; soak() || (i+j)%11 == 0 || slices.Contains(worst, name) {
				all = append(all, hostile{name, shapes[shape], readers[reader]})
			}
		}
	}
	v := newVerifier(t, newKey(t, sign.Ed25519))
	v.Policy = must[*trust.Policy](t)(trust.Simple([]string{"x"}, false)) // unsigned, so that all of it is read
	verify := func(data []byte) error { _, err := v.Verify(bundles.Request{Name: "x", Archive: data}); return err }
	many, empty, dense := bundlestest.Zip{}, bundlestest.Zip{}, bundlestest.Zip{}
	nothing, zeros := bundlestest.Deflated("", ""), bundlestest.Deflated("", strings.Repeat("\x00", 1<<20))
	named := func(e bundlestest.Entry, i int) bundlestest.Entry {
		return e.Both(func(h *bundlestest.Header) { h.Name = fmt.Sprint("f", i) })
	}
	for i := range 4095 {
		many.Entries = append(many.Entries, bundlestest.Stored(fmt.Sprintf("%s%d", strings.Repeat("a/", 15), i), strings.Repeat("x", 100)))
		empty.Entries = append(empty.Entries, named(nothing, i))
	}
	for i := range 16 {
		dense.Entries = append(dense.Entries, named(zeros, i))
	}
	for name, z := range map[string]bundlestest.Zip{"many files": many, "empty files": empty, "dense files": dense} {
		z.Entries = append(z.Entries, bundlestest.Streamed("manifest.json", `{"file_list":[],"custom_middleware":{},"checksum":"d41d8cd98f00b204e9800998ecf8427e"}`))
		all = append(all, hostile{"archive, " + name, z.Bytes(), verify})
	}
	return append(all,
		hostile{"archive, ends", fill("", "PK\x05\x06", ""), verify},
		hostile{"archive, entries", fill("", string(bundlestest.Zip{Entries: []bundlestest.Entry{bundlestest.Stored("a", "")}}.Prefix(1)), ""), verify},
		hostile{"archive, envelope", archiveOf(t, fill("", "[", "")), verify},
	)
}

// archiveOf is a canonical archive whose envelope is data.
func archiveOf(t *testing.T, data []byte) []byte {
	prefix := must[[]byte](t)(archive.Pack([]archive.File{{Name: "a", Content: []byte("a")}}, limits()))
	return must[[]byte](t)(archive.Seal(prefix, data, limits()))
}

// A mebibyte of anything costs at most 64 MiB to refuse, freed or not, whoever made it.
func TestMemoryIsBounded(t *testing.T) {
	var worst uint64
	worstName := ""
	for _, h := range hostiles(t) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := h.read(h.data)
		runtime.ReadMemStats(&after)
		if refusal.CodeOf(err) == refusal.Internal {
			t.Errorf("%s: no refusal: %v", h.name, err)
		}
		used := after.TotalAlloc - before.TotalAlloc
		perMiB := used * (1 << 20) / uint64(max(len(h.data), 1<<20))
		if perMiB > 64<<20 {
			t.Errorf("%s: %d MiB for %d KiB (%v)", h.name, used>>20, len(h.data)>>10, err)
		}
		if perMiB > worst {
			worst, worstName = perMiB, h.name
		}
	}
	t.Logf("the worst is %s, with %d MiB", worstName, worst>>20)
}
