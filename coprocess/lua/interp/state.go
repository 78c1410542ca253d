package interp

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script/jsontext"
)

// Library is one that a script does not have unless the operator allows it.
type Library string

// The libraries that reach out of the interpreter.
const (
	OS    Library = "os"    // all of os: processes, files, environment
	IO    Library = "io"    // files and processes
	Debug Library = "debug" // the inside of other functions
	Load  Library = "load"  // loadfile and dofile, of any file
)

// Options say what a state is to be. They may be shared by states.
type Options struct {
	Limits *script.Limits // complete
	Allow  []Library
	// Require finds the file that require asks for, by the name it was asked with; nil finds nothing.
	Require func(name string) (*Program, error)
	// Print takes what print writes.
	Print func(s *State, text string)
	// Global makes the global of that name for the call under way; LNil for none. It is asked for names nobody defined.
	Global func(s *State, name string) lua.LValue
	// Fill completes a table that [State.Lazy] made, before it is iterated over or read raw.
	Fill func(s *State, t *lua.LTable)
	// Index gives a lazy table's field that is not there yet, and may complete the table by the way.
	Index func(s *State, t *lua.LTable, key lua.LValue) lua.LValue
	// Assign takes note that a field of a lazy table is assigned for the first time.
	Assign func(s *State, t *lua.LTable, key lua.LValue)
}

// retireAfter is after how many calls, and after how many globals that calls made, a state is not used again: what it
// cannot forget, such as the names of fields that tables once had, goes with it.
const (
	retireAfter = 20000
	retireDirt  = 4096
)

// The bound of arrays is set while the package is initialised, when no state can be running: by default one assignment to a
// position of 67 million takes a gigabyte before anybody can interrupt it, and gopher-lua knows no option per state.
var _ = func() int {
	lua.MaxArrayIndex = 1 << 20
	return lua.MaxArrayIndex
}()

// State is one interpreter. It is for one goroutine at a time, but for Interrupt.
type State struct {
	L *lua.LState
	// Owner is whatever the owner wants to find again in the functions of its Options.
	Owner any

	o       *Options
	env     *lua.LTable // what scripts see as _G; during calls it holds what the call defined
	base    *lua.LTable // what was there before
	lazy    *lua.LTable // the metatable of lazy tables
	arrays  *lua.LTable // the metatable of arrays that came from JSON
	null    *lua.LUserData
	reader  *jsontext.Reader[lua.LValue] // nil until it is used
	nulls   bool                         // whether the reader keeps null as a member
	frozen  map[*lua.LTable]*lua.LTable  // read-only libraries by what scripts see of them
	loaded  map[string]lua.LValue        // modules
	late    []string                     // modules that the call under way loaded
	concat  *lua.LFunction
	sealed  bool
	threads int
	random  *random
	tether  tether
	ctx     context.Context
	calls   int
	dirt    int
}

// tether is the context that the interpreter looks at before each instruction.
type tether struct {
	why    atomic.Pointer[error]
	closed chan struct{}
}

var _ context.Context = (*tether)(nil)

func (t *tether) Deadline() (time.Time, bool) { return time.Time{}, false }

func (t *tether) Done() <-chan struct{} {
	if t.why.Load() != nil {
		return t.closed
	}
	return nil
}

func (t *tether) Err() error {
	if why := t.why.Load(); why != nil {
		return *why
	}
	return nil
}

func (t *tether) Value(any) any { return nil }

// New makes a state in which nothing has been loaded.
func New(o *Options) *State {
	s := &State{
		o: o, frozen: map[*lua.LTable]*lua.LTable{}, loaded: map[string]lua.LValue{},
		L: lua.NewState(lua.Options{
			SkipOpenLibs: true, CallStackSize: o.Limits.Depth, MinimizeStackMemory: true,
			RegistrySize: 256, RegistryGrowStep: 1024, RegistryMaxSize: 64 << 10,
		}),
		tether: tether{closed: make(chan struct{})},
	}
	close(s.tether.closed)
	s.L.SetContext(&s.tether)
	s.env, s.base, s.lazy, s.arrays = s.L.G.Global, s.L.CreateTable(0, 1), s.L.CreateTable(0, 1), s.L.CreateTable(0, 1)
	s.concat = s.L.NewFunction(s.join)
	s.null = s.L.NewUserData()
	s.open()
	s.take()
	s.protect()
	return s
}

// take moves what is in the globals to where no call can change it.
func (s *State) take() {
	for k, v := s.env.Next(lua.LNil); k != lua.LNil; k, v = s.env.Next(k) {
		s.base.RawSet(k, v)
	}
	s.clear()
}

// clear empties the globals of a call. It returns how many there were.
func (s *State) clear() (n int) {
	for k, _ := s.env.Next(lua.LNil); k != lua.LNil; k, _ = s.env.Next(lua.LNil) {
		s.env.RawSet(k, lua.LNil)
		n++
		if n > retireDirt {
			break // the state is not used again
		}
	}
	return n
}

// protect makes what scripts see of the globals fall back on what was loaded, and that on what the owner gives.
func (s *State) protect() {
	meta := s.L.CreateTable(0, 1)
	meta.RawSetString("__index", s.base)
	meta.RawSetString("__metatable", lua.LFalse)
	s.env.Metatable = meta
	if s.o.Global != nil {
		more := s.L.CreateTable(0, 1)
		more.RawSetString("__index", s.L.NewFunction(s.missing))
		s.base.Metatable = more
	}
	s.lazy.RawSetString("__metatable", lua.LFalse)
	s.arrays.RawSetString("__metatable", lua.LFalse)
	if s.o.Index != nil {
		s.lazy.RawSetString("__index", s.L.NewFunction(s.lazyIndex))
		s.lazy.RawSetString("__newindex", s.L.NewFunction(s.lazyAssign))
	}
}

func (s *State) missing(l *lua.LState) int {
	if name, ok := l.Get(2).(lua.LString); ok && s.ctx != nil {
		if v := s.o.Global(s, string(name)); v != lua.LNil {
			s.env.RawSetString(string(name), v)
			l.Push(v)
			return 1
		}
	}
	l.Push(lua.LNil)
	return 1
}

// Lazy makes a table whose fields Options.Index gives when they are asked for.
func (s *State) Lazy() *lua.LTable {
	t := s.L.CreateTable(0, 4)
	t.Metatable = s.lazy
	return t
}

// IsLazy reports whether t is a lazy table that was not completed.
func (s *State) IsLazy(t *lua.LTable) bool { return t.Metatable == s.lazy }

func (s *State) lazyIndex(l *lua.LState) int {
	if t, ok := l.Get(1).(*lua.LTable); ok && s.IsLazy(t) {
		l.Push(s.o.Index(s, t, l.Get(2)))
		return 1
	}
	l.Push(lua.LNil)
	return 1
}

func (s *State) lazyAssign(l *lua.LState) int {
	if t, ok := l.Get(1).(*lua.LTable); ok {
		if s.IsLazy(t) {
			s.o.Assign(s, t, l.Get(2))
		}
		l.RawSet(t, l.Get(2), l.Get(3))
	}
	return 0
}

// whole completes a lazy table.
func (s *State) whole(t *lua.LTable) {
	if s.IsLazy(t) && s.o.Fill != nil {
		s.o.Fill(s, t)
	}
}

// Load runs a program, whose globals stay. The state is not in a call.
func (s *State) Load(ctx context.Context, p *Program) error {
	s.ctx = ctx
	s.tether.why.Store(nil)
	defer func() { s.ctx = nil }()
	err := s.protected(func() {
		s.L.Push(p.function(s))
		s.L.Call(0, 0)
	})
	if err != nil {
		return s.failure(err)
	}
	s.take()
	return nil
}

// Seal ends loading: from now on, libraries are read-only and globals last for one call.
func (s *State) Seal() {
	s.take()
	s.sealed, s.late = true, nil
}

// protected runs f, whose errors of Lua become an error.
func (s *State) protected(f func()) error {
	s.L.Push(s.L.NewFunction(func(*lua.LState) int { f(); return 0 }))
	return s.L.PCall(0, 0, nil)
}

// Begin begins a call. ctx is for what the call waits for; what ends it is Interrupt.
func (s *State) Begin(ctx context.Context) {
	s.ctx = ctx
	s.tether.why.Store(nil)
}

// Context is that of the call under way.
func (s *State) Context() context.Context { return s.ctx }

// Interrupt ends the call under way: its next instruction fails with why, and so do all after it. The first interrupt
// of a call counts. It is safe for concurrent use.
func (s *State) Interrupt(why error) { s.tether.why.CompareAndSwap(nil, &why) }

// Interrupted returns why the call was interrupted, or nil.
func (s *State) Interrupted() error { return s.tether.Err() }

// Breach fails the running function with an error that no pcall keeps: the call is over.
func (s *State) Breach(l *lua.LState, err error) {
	s.Interrupt(err)
	l.RaiseError("%s", err.Error())
}

// Call calls fn with the arguments and leaves nret results on the state's stack. The error is a [*script.Error] without
// plugin; see [State.Thrown] for what is not text.
func (s *State) Call(fn lua.LValue, nret int, args ...lua.LValue) error {
	s.L.Push(fn)
	for _, a := range args {
		s.L.Push(a)
	}
	if err := s.L.PCall(len(args), nret, nil); err != nil {
		return s.failure(err)
	}
	return nil
}

// End ends a call and forgets what it defined. It reports whether the state may be used again; if not, close it.
func (s *State) End() bool {
	interrupted := s.tether.why.Load() != nil
	s.L.SetTop(0)
	s.L.Env = s.env
	s.threads = 0
	for _, name := range s.late {
		delete(s.loaded, name)
	}
	s.late = s.late[:0]
	s.ctx = nil
	if interrupted {
		return false
	}
	s.dirt += s.clear()
	s.calls++
	return s.calls < retireAfter && s.dirt < retireDirt
}

// Close gives the state's memory back.
func (s *State) Close() { s.L.Close() }

// Global returns what a file defined under that name.
func (s *State) Global(name string) lua.LValue { return s.base.RawGetString(name) }

// Define gives all scripts of the state a global. It is called before anything is loaded.
func (s *State) Define(name string, v lua.LValue) { s.base.RawSetString(name, v) }

// Module is what require of that name gives.
func (s *State) Module(name string, v lua.LValue) { s.loaded[name] = v }

func (s *State) print(text string) {
	if s.o.Print != nil {
		s.o.Print(s, text)
	}
}

// LevelOf is the level that scripts name, info for others.
func LevelOf(name string) slog.Level {
	switch name {
	case "debug":
		return slog.LevelDebug
	case "warn", "warning":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}
