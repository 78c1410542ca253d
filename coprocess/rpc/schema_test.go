package rpc_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

// TestSchemaLearntLater: a hook that was opened before its server was there fails by name once the server says that it
// does not take the configuration.
func TestSchemaLearntLater(t *testing.T) {
	noLeaks(t)
	path := filepath.Join(t.TempDir(), "s")
	s := open(t, rpc.Options{Address: "unix:" + path, RetryEvery: 20 * time.Millisecond})
	x, _ := coprocesstest.NewExchange()
	hook := func(config string) sdk.Hook {
		h, err := s.Hook(sdk.HookUse{Name: "Mark", Phase: sdk.Pre, Config: []byte(config), Route: x.Route()})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	good, bad := hook(`{"realm":"r"}`), hook(`{"realm":1}`)
	group, ok := s.Group([]sdk.Hook{good, bad})
	if !ok {
		t.Fatal("no group")
	}
	type checked interface{ Check() error }
	if err := bad.(checked).Check(); err != nil {
		t.Errorf("before anything is known: %v", err)
	}
	p := markPlugin()
	p.ConfigSchema = []byte(`{"properties": {"realm": {"type": "string"}}}`)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	startPlugin(t, p, l, serve.Options{})
	await(t, s)
	for name, h := range map[string]sdk.Hook{"hook": bad, "group": group} {
		x.Begin(sdk.Pre, nil, false)
		for what, err := range map[string]error{"check": h.(checked).Check(), "call": h.Handle(t.Context(), x)} {
			if err == nil || !strings.Contains(err.Error(), `plugin "bench": config of hook "Mark": $.realm: got number, want string`) {
				t.Errorf("%s of the %s: got %v", what, name, err)
			}
		}
	}
	x.Begin(sdk.Pre, nil, false)
	if err := good.Handle(t.Context(), x); err != nil || good.(checked).Check() != nil {
		t.Errorf("the good one: %v", err)
	}
}

// TestSchemaThatIsNone: a server whose schema is none is not called, and its status says why.
func TestSchemaThatIsNone(t *testing.T) {
	noLeaks(t)
	l := listen(t)
	p := markPlugin()
	p.ConfigSchema = []byte(`{"$ref": "http://127.0.0.1:1/x.json"}`)
	startPlugin(t, p, l, serve.Options{})
	s := open(t, rpc.Options{Address: "unix:" + l.Addr().String(), RetryEvery: 20 * time.Millisecond})
	until(t, "noticing", func() bool { return stateOf(s)[0] == rpc.StateDown })
	if st := s.Status()[0]; !strings.Contains(st.Error, `plugin "bench": its config schema is no JSON Schema`) {
		t.Errorf("got status %+v", st)
	}
}
