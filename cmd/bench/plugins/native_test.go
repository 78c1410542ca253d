package plugins

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest"
)

// A native server also answers Tyk's protocol, so the same client can show that the plugin is there and works.
func TestServeNative(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads processes' clocks, which needs Linux")
	}
	address := start(t, ServeNative)
	calls, err := Call(t.Context(), address, os.Getpid(), os.Getpid(), 2, 20*time.Millisecond)
	if err != nil || calls.Count <= 0 {
		t.Errorf("got %+v, %v", calls, err)
	}
}

func TestBenchPlugin(t *testing.T) {
	p := benchPlugin()
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	if r := sdktest.Request("GET", "/").Run(t, p, sdk.Pre, SetHeader); r.RequestHeader(BenchHeader) != "1" {
		t.Errorf("%s sets no %s: %+v", SetHeader, BenchHeader, r.After.Request)
	}
	good := sdktest.Request("GET", "/").Header("Authorization", Token).Run(t, p, sdk.Auth, Authenticate)
	if good.Err != nil || good.After.Session == nil || good.After.Session.KeyID != Token {
		t.Errorf("good token: %+v", good)
	}
	if bad := sdktest.Request("GET", "/").Run(t, p, sdk.Auth, Authenticate); bad.Status() != 401 {
		t.Errorf("no token: status %d, want 401", bad.Status())
	}
}
