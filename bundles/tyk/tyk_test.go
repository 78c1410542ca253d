package tyk_test

import (
	"encoding/json"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/bundlestest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/tyk"
)

func example() bundlestest.Tyk {
	return bundlestest.Tyk{Names: []string{"a.py"}, Contents: []string{"x"}, Wiring: bundlestest.Wiring("python", "P", "a.py")}
}

func TestOpen(t *testing.T) {
	b, err := tyk.Open(example().Bytes(t), archive.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Listed) != 1 || b.Digests[0] != bundlestest.SHA256("x") || b.Manifest.Middleware.Pre[0].Name != "P" || !json.Valid(b.Manifest.Wiring) {
		t.Errorf("%+v", b)
	}
	// What Tyk's gateway knows and we do not is left alone.
	more := example()
	more.Manifest = func(m map[string]any) { m["x_vendor"] = map[string]any{"a": 1} }
	if _, err := tyk.Open(more.Bytes(t), archive.DefaultLimits()); err != nil {
		t.Error(err)
	}
	grpc := bundlestest.Tyk{Wiring: bundlestest.Wiring("grpc", "P", "")}
	b, err = tyk.Open(grpc.Bytes(t), archive.DefaultLimits())
	if err != nil || b.Manifest.Checksum != "d41d8cd98f00b204e9800998ecf8427e" {
		t.Errorf("%+v %v", b, err)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"file_list":["a.py"],"custom_middleware":` + bundlestest.Wiring("python", "P", "a.py") + `,"checksum":"d41d8cd98f00b204e9800998ecf8427e","signature":"eA=="}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := tyk.ParseManifest(data)
		if err != nil {
			if refusal.CodeOf(err) == refusal.Internal {
				t.Errorf("no refusal: %v", err)
			}
			return
		}
		// What Tyk reads in it is what we read.
		var theirs struct {
			FileList         []string       `json:"file_list"`
			CustomMiddleware tyk.Middleware `json:"custom_middleware"`
			Signature        string         `json:"signature"`
		}
		if err := json.Unmarshal(data, &theirs); err != nil {
			t.Fatalf("accepted, and yet %v: %q", err, data)
		}
		if theirs.Signature != m.Signature || theirs.CustomMiddleware.Driver != m.Middleware.Driver || len(theirs.FileList) != len(m.FileList) {
			t.Errorf("we read %+v, Tyk %+v", m, theirs)
		}
	})
}

func FuzzOpen(f *testing.F) {
	f.Add(example().Bytes(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<20 {
			return
		}
		limits := archive.DefaultLimits()
		limits.Total = 16 << 20
		b, err := tyk.Open(data, limits)
		if err == nil && len(b.Listed) != len(b.Manifest.FileList) {
			t.Errorf("%d files, listed %q", len(b.Listed), b.Manifest.FileList)
		}
	})
}
