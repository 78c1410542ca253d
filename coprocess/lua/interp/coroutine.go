package interp

import (
	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
)

// maxThreads is how many coroutines may be resumed by one another: each is a loop of the interpreter on the goroutine's
// stack.
const maxThreads = 100

// openCoroutines makes coroutines end with the call they belong to. The interpreter would give each a context derived
// from its parent's, and a goroutine with it.
func (s *State) openCoroutines(lib *lua.LTable) {
	create, wrap, resume := native(lib, "create"), native(lib, "wrap"), native(lib, "resume")
	s.functions(lib, map[string]lua.LGFunction{
		"create": func(l *lua.LState) int {
			l.RemoveContext()
			n := create(l)
			l.SetContext(&s.tether)
			l.ToThread(-1).SetContext(&s.tether)
			return n
		},
		"wrap": func(l *lua.LState) int {
			l.RemoveContext()
			n := wrap(l)
			l.SetContext(&s.tether)
			f := l.ToFunction(-1)
			if th, ok := f.Upvalues[0].Value().(*lua.LState); ok {
				th.SetContext(&s.tether)
			}
			f.GFunction = s.nested(f.GFunction)
			return n
		},
		"resume": s.nested(resume),
	})
}

func native(lib *lua.LTable, name string) lua.LGFunction {
	if f, ok := lib.RawGetString(name).(*lua.LFunction); ok {
		return f.GFunction
	}
	return func(l *lua.LState) int {
		l.RaiseError("%s is missing", name)
		return 0
	}
}

func (s *State) nested(resume lua.LGFunction) lua.LGFunction {
	return func(l *lua.LState) int {
		if s.threads >= maxThreads {
			s.Breach(l, script.ErrDepth)
		}
		s.threads++
		defer func() { s.threads-- }()
		return resume(l)
	}
}
