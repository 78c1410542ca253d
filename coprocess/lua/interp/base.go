package interp

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
)

// random is a state's own generator: the library's is the process's, and a script could seed it.
type random struct{ *rand.Rand }

// open opens the libraries and replaces what reaches too far.
func (s *State) open() {
	s.openLibrary(lua.BaseLibName, lua.OpenBase)
	s.openLibrary(lua.TabLibName, lua.OpenTable)
	s.openLibrary(lua.StringLibName, lua.OpenString)
	s.openLibrary(lua.MathLibName, lua.OpenMath)
	s.openLibrary(lua.CoroutineLibName, lua.OpenCoroutine)
	s.openLibrary(lua.OsLibName, lua.OpenOs)
	if s.allowed(IO) {
		s.openLibrary(lua.IoLibName, lua.OpenIo)
	}
	if s.allowed(Debug) {
		s.openLibrary(lua.DebugLibName, lua.OpenDebug)
	}
	for _, name := range []string{"newproxy", "module", "_printregs"} {
		s.env.RawSetString(name, lua.LNil)
	}
	if !s.allowed(Load) {
		s.env.RawSetString("dofile", lua.LNil)
		s.env.RawSetString("loadfile", lua.LNil)
	}
	s.functions(s.env, map[string]lua.LGFunction{
		"collectgarbage": collectgarbage, "print": s.printAll, "next": s.next, "rawget": s.rawget, "rawset": s.rawset,
		"load": s.load, "loadstring": s.loadstring, "require": s.require,
	})
	s.env.RawSetString("pairs", s.L.NewClosure(s.pairs, s.env.RawGetString("next")))
	s.openStrings(s.library("string"))
	s.functions(s.library("table"), map[string]lua.LGFunction{"concat": s.concatTable})
	s.random = &random{rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
	s.functions(s.library("math"), map[string]lua.LGFunction{"random": s.mathRandom, "randomseed": s.mathSeed})
	s.openCoroutines(s.library("coroutine"))
	if !s.allowed(OS) {
		lib := s.library("os")
		for k, _ := lib.Next(lua.LNil); k != lua.LNil; k, _ = lib.Next(k) {
			if !slices.Contains([]string{"time", "date", "clock", "difftime"}, k.String()) {
				lib.RawSet(k, lua.LNil)
			}
		}
	}
	for _, name := range []string{"string", "table", "math", "coroutine", "os", "io", "debug"} {
		if lib, ok := s.env.RawGetString(name).(*lua.LTable); ok {
			shown := s.Freeze(lib)
			s.env.RawSetString(name, shown)
			s.loaded[name] = shown
		}
	}
}

func (s *State) openLibrary(name string, open lua.LGFunction) {
	s.L.Push(s.L.NewFunction(open))
	s.L.Push(lua.LString(name))
	s.L.Call(1, 0)
}

func (s *State) library(name string) *lua.LTable {
	t, ok := s.env.RawGetString(name).(*lua.LTable)
	if !ok {
		t = s.L.CreateTable(0, 1)
	}
	return t
}

func (s *State) allowed(l Library) bool { return slices.Contains(s.o.Allow, l) }

func (s *State) functions(t *lua.LTable, all map[string]lua.LGFunction) {
	for name, f := range all {
		t.RawSetString(name, s.L.NewFunction(f))
	}
}

// Library makes a read-only table of functions.
func (s *State) Library(all map[string]lua.LGFunction) *lua.LTable {
	t := s.L.CreateTable(0, 1)
	s.functions(t, all)
	return s.Freeze(t)
}

// Freeze returns what scripts see of a library: it can be added to while files are loaded, and only read afterwards.
func (s *State) Freeze(lib *lua.LTable) *lua.LTable {
	shown, meta := s.L.CreateTable(0, 1), s.L.CreateTable(0, 1)
	meta.RawSetString("__index", lib)
	meta.RawSetString("__metatable", lua.LFalse)
	meta.RawSetString("__newindex", s.L.NewFunction(func(l *lua.LState) int {
		if s.sealed {
			l.RaiseError("attempt to change %s of a library: it is read-only once the files are loaded", l.Get(2).String())
		}
		lib.RawSet(l.Get(2), l.Get(3))
		return 0
	}))
	shown.Metatable = meta
	s.frozen[shown] = lib
	return shown
}

func collectgarbage(l *lua.LState) int {
	l.Push(lua.LNumber(0))
	return 1
}

func (s *State) printAll(l *lua.LState) int {
	var b strings.Builder
	for i := 1; i <= l.GetTop(); i++ {
		if i > 1 {
			b.WriteByte('\t')
		}
		b.WriteString(l.ToStringMeta(l.Get(i)).String())
		if b.Len() > s.o.Limits.Size {
			s.Breach(l, script.ErrSize)
		}
	}
	s.print(b.String())
	return 0
}

// inside is the table that holds what t shows.
func (s *State) inside(t *lua.LTable) *lua.LTable {
	s.whole(t)
	if lib, ok := s.frozen[t]; ok {
		return lib
	}
	return t
}

func (s *State) next(l *lua.LState) int {
	k, v := s.inside(l.CheckTable(1)).Next(l.Get(2))
	l.Push(k)
	if k == lua.LNil {
		return 1
	}
	l.Push(v)
	return 2
}

func (s *State) pairs(l *lua.LState) int {
	t := s.inside(l.CheckTable(1))
	l.Push(l.Get(lua.UpvalueIndex(1)))
	l.Push(t)
	l.Push(lua.LNil)
	return 3
}

func (s *State) rawget(l *lua.LState) int {
	l.Push(l.RawGet(s.inside(l.CheckTable(1)), l.CheckAny(2)))
	return 1
}

func (s *State) rawset(l *lua.LState) int {
	t, key := l.CheckTable(1), l.CheckAny(2)
	if lib, ok := s.frozen[t]; ok {
		if s.sealed {
			l.RaiseError("attempt to change %s of a library: it is read-only once the files are loaded", key.String())
		}
		t = lib
	}
	s.whole(t)
	l.RawSet(t, key, l.CheckAny(3))
	l.Push(l.Get(1))
	return 1
}

// maxChunk bounds the source of load and loadstring: compiling is one native function.
const maxChunk = 64 << 10

func (s *State) loadstring(l *lua.LState) int {
	return s.compile(l, l.CheckString(1), l.OptString(2, "(load)"))
}

func (s *State) load(l *lua.LState) int {
	if text, ok := l.Get(1).(lua.LString); ok {
		return s.compile(l, string(text), l.OptString(2, "(load)"))
	}
	fn := l.CheckFunction(1)
	var b strings.Builder
	for b.Len() <= maxChunk {
		l.Push(fn)
		l.Call(0, 1)
		part, ok := l.Get(-1).(lua.LString)
		l.Pop(1)
		if !ok || part == "" {
			break
		}
		b.WriteString(string(part))
	}
	return s.compile(l, b.String(), l.OptString(2, "(load)"))
}

func (s *State) compile(l *lua.LState, text, name string) int {
	if len(text) > maxChunk {
		l.Push(lua.LNil)
		l.Push(lua.LString("more than 64 KiB of source"))
		return 2
	}
	p, err := Compile(strings.TrimPrefix(name, "="), text)
	if err != nil {
		l.Push(lua.LNil)
		l.Push(lua.LString(err.Error()))
		return 2
	}
	l.Push(p.function(s))
	return 1
}

// require runs a file of the plugin once, and gives what it returned.
func (s *State) require(l *lua.LState) int {
	name := l.CheckString(1)
	if v, ok := s.loaded[name]; ok {
		if v == lua.LNil {
			l.RaiseError("loop or previous error loading module '%s'", name)
		}
		l.Push(v)
		return 1
	}
	if s.o.Require == nil {
		l.RaiseError("module '%s' not found: this script has no folder of its own", name)
	}
	p, err := s.o.Require(name)
	if err != nil {
		l.RaiseError("%s", err.Error())
	}
	s.loaded[name] = lua.LNil
	if s.sealed {
		s.late = append(s.late, name) // its globals go with the call, and so does it
	}
	l.Push(p.function(s))
	l.Push(lua.LString(name))
	l.Call(1, 1)
	v := l.Get(-1)
	if v == lua.LNil {
		v = lua.LTrue
	}
	s.loaded[name] = v
	l.Push(v)
	return 1
}

func (s *State) mathRandom(l *lua.LState) int {
	low, high := 1.0, 0.0
	switch l.GetTop() {
	case 0:
		l.Push(lua.LNumber(s.random.Float64()))
		return 1
	case 1:
		high = float64(l.CheckNumber(1))
	default:
		low, high = float64(l.CheckNumber(1)), float64(l.CheckNumber(2))
	}
	low, high = math.Floor(low), math.Floor(high)
	if !(low <= high) || high-low >= 1<<53 {
		l.RaiseError("bad argument to random (interval is empty or too large)")
	}
	l.Push(lua.LNumber(low + float64(s.random.Int64N(int64(high-low)+1))))
	return 1
}

func (s *State) mathSeed(l *lua.LState) int {
	s.random = &random{rand.New(rand.NewPCG(math.Float64bits(float64(l.CheckNumber(1))), 0))}
	return 0
}
