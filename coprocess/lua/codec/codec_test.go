package codec_test

import (
	"errors"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/codec"
)

// TestRoom: encoders ask before they make.
func TestRoom(t *testing.T) {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	asked := 0
	for name, functions := range codec.Libraries(func(l *lua.LState, n int) { asked = n; l.RaiseError("too long") }) {
		f, ok := functions["encode"]
		if !ok {
			continue
		}
		err := l.CallByParam(lua.P{Fn: l.NewFunction(f), Protect: true}, lua.LString("four"))
		if api := (*lua.ApiError)(nil); !errors.As(err, &api) || asked != 8 {
			t.Errorf("%s: got %v, asked for %d", name, err, asked)
		}
	}
}
