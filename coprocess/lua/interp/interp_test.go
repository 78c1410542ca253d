package interp_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/interp"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func limits(l script.Limits) *script.Limits {
	l = l.Complete()
	return &l
}

// load makes a state with one file.
func load(t testing.TB, o *interp.Options, text string) *interp.State {
	t.Helper()
	p, err := interp.Compile("test.lua", text)
	if err != nil {
		t.Fatal(err)
	}
	s := interp.New(o)
	t.Cleanup(s.Close)
	s.Define("json", s.JSON())
	if err := s.Load(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	s.Seal()
	return s
}

// call calls the global f of the state and returns its result as text.
func call(t testing.TB, s *interp.State, args ...lua.LValue) (string, error) {
	t.Helper()
	s.Begin(t.Context())
	defer s.End()
	if err := s.Call(s.Global("f"), 1, args...); err != nil {
		return "", err
	}
	return s.L.Get(-1).String(), nil
}

// Each expression is true in Lua 5.1.
func TestLanguage(t *testing.T) {
	for _, e := range []string{
		`"a" .. 1 .. "b" == "a1b"`, `("x"):rep(3) == "xxx"`, `("x"):rep(0) == ""`, `(1 .. 2) == "12"`,
		`table.concat({1, "b", 3}, "-") == "1-b-3"`, `table.concat({}, ",") == ""`, `table.concat({1, 2, 3}, ",", 2, 3) == "2,3"`,
		`("hello"):find("l") == 3`, `select(2, ("hello"):find("l+")) == 4`, `("a.b"):find(".", 1, true) == 2`, `("abc"):find("b", -1) == nil`,
		`("k=v"):match("(%w+)=(%w+)") == "k"`, `("abc"):match("^b") == nil`, `("2026-11-23"):match("%d+$") == "23"`, `("x"):match("()") == 1`,
		`("hello"):gsub("l", "L") == "heLLo"`, `select(2, ("hello"):gsub("l", "L")) == 2`, `("abc"):gsub("", "-") == "-a-b-c-"`,
		`("abc"):gsub("%w", "%0%0") == "aabbcc"`, `("abc"):gsub("b", {b = "x"}) == "axc"`, `("abc"):gsub("b", function() end) == "abc"`,
		`("hello world"):gsub("(%w+) (%w+)", "%2 %1") == "world hello"`, `("abc"):gsub("^a", "x") == "xbc"`, `("aaa"):gsub("a", "b", 2) == "bba"`,
		`("a b c"):gsub("%s+", "") == "abc"`, `("100%"):gsub("%%", " percent") == "100 percent"`,
		`string.format("%d %s %5.2f %x %q %%", 3, "a", 1.5, 255, 'q"') == '3 a  1.50 ff "q\\"" %'`, `string.format("%05d|%-5s|%5s", 42, "a", "b") == "00042|a    |    b"`,
		`string.format("%10s|%-10s|", "abc", "abc") == "       abc|abc       |"`, `string.format("%g", 0.1) == "0.1"`, `string.format("%g", 1e20) == "1e+20"`, `string.format("%c%c", 72, 105) == "Hi"`,
		`(function() local n = 0 for k, v in ("a=1,b=2"):gmatch("(%w+)=(%w+)") do n = n + v end return n end)() == 3`,
		`(function() local r = "" for w in ("one two"):gmatch("%a+") do r = r .. w .. ";" end return r end)() == "one;two;"`,
		`(function() local c = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end) return c(1) + c(5) end)() == 12`,
		`(function() local c = coroutine.create(function() error("x", 0) end) local ok, e = coroutine.resume(c) return not ok and e == "x" end)()`,
		`(function() local m = setmetatable({}, {__concat = function(a, b) return "met" end}) return m .. "a" == "met" and "a" .. m == "met" and 1 .. m == "met" end)()`,
		`(function() local s = "" for i = 1, 5 do s = s .. i end return s end)() == "12345"`,
		`loadstring("return 1 + 1")() == 2`, `load(function() return nil end) ~= nil`, `select("#", loadstring("x x")) == 2`,
		`pcall(error, "x") == false`, `type(os.time()) == "number"`, `os.exit == nil and os.getenv == nil and os.execute == nil and os.remove == nil`,
		`io == nil and debug == nil and dofile == nil and loadfile == nil and module == nil and string.dump == nil`,
		`_G._G == _G`, `_G.string == string`, `string.upper("a") == "A"`, `getmetatable("") == false`, `getmetatable(_G) == false`, `getmetatable(string) == false`,
		`(function() local n = 0 for _ in pairs(string) do n = n + 1 end return n > 10 end)()`, `next({}) == nil`, `rawget(string, "upper") ~= nil`,
		`not pcall(function() string.upper = nil end)`, `not pcall(rawset, string, "upper", 1)`, `not pcall(setmetatable, string, nil)`,
		`math.random(5) >= 1 and math.random(5) <= 5`, `math.random() < 1`, `not pcall(math.random, 2, 1)`, `collectgarbage("count") == 0`,
		`json.encode({1, 2, {a = "b\n"}}) == '[1,2,{"a":"b\\n"}]'`, `json.encode({}) == "{}"`, `json.encode(json.decode("[]")) == "[]"`, `json.decode('{"a":[1,null]}').a[2] == json.null`,
		`json.decode("null") == nil`, `not pcall(json.decode, "{")`, `not pcall(json.decode, "1 2")`, `json.encode("é") == '"é"'`, `json.encode(1e300) == "1e+300"`, `not pcall(json.encode, 0/0)`,
		`(function() local t = {} t.t = t return not pcall(json.encode, t) end)()`, `not pcall(json.encode, print)`, `json.encode({[1] = "a", x = 1}) == '{"1":"a","x":1}'`,
	} {
		s := load(t, &interp.Options{Limits: limits(script.Limits{})}, "function f() return ("+e+") end")
		if got, err := call(t, s); err != nil || got != "true" {
			t.Errorf("%s: got %s, %v", e, got, err)
		}
	}
}

// TestReset: what a call leaves in globals is gone in the next, what the file defined is as it was.
func TestReset(t *testing.T) {
	s := load(t, &interp.Options{Limits: limits(script.Limits{})}, `
		kept, n = "kept", 0
		local up = 0
		function string.twice(v) return v .. v end
		function f()
			local seen = tostring(leaked) .. kept .. n .. up .. tostring(_G.leaked) .. ("a"):twice()
			leaked, kept, n, up = "leaked", "rebound", n + 1, up + 1
			_G.also, tostring = "x", nil
			rawset(_G, "raw", 1)
			return seen
		end`)
	for i := range 3 {
		got, err := call(t, s)
		if want := fmt.Sprintf("nilkept0%dnilaa", i); err != nil || got != want { // upvalues of the file stay
			t.Errorf("call %d: got %s, %v, want %s", i, got, err, want)
		}
	}
	s.Begin(t.Context())
	err := s.Call(s.Global("f"), 0)
	if err != nil || !s.End() {
		t.Errorf("got %v, or the state is not fit", err)
	}
}

func TestErrors(t *testing.T) {
	tests := []struct {
		text, file, message string
		line                int
	}{
		{"function f()\n local x = nil\n return x.y end", "test.lua", "attempt to index a non-table object(nil) with key 'y'", 3},
		{"function f()\n\n error('no: 50% off') end", "test.lua", "no: 50% off", 3},
		{"function f() error({message = 'table'}) end", "", "table", 0},
		{"function f() error(nil) end", "", "nil", 0},
		{"function f() error('plain', 0) end", "", "plain", 0},
		{"function f() local a return 'x' .. a .. 'y' .. f end", "test.lua", "attempt to concatenate a string and a function value", 1},
		{"function f() return ('x'):find('[a') end", "test.lua", "malformed pattern (missing ']')", 1},
		{"function f() return string.format('%999d', 1) end", "test.lua", "invalid conversion '%999d' to 'format'", 1},
		{"function f() return string.format('%[1]s', 'x') end", "test.lua", "invalid conversion '%[' to 'format'", 1},
		{"function f() return require('x') end", "test.lua", "module 'x' not found: this script has no folder of its own", 1},
	}
	for _, tt := range tests {
		_, err := call(t, load(t, &interp.Options{Limits: limits(script.Limits{})}, tt.text))
		var e *script.Error
		if !errors.As(err, &e) || e.File != tt.file || e.Line != tt.line || e.Message != tt.message {
			t.Errorf("%s: got %#v", tt.text, err)
		}
	}
	for text, line := range map[string]int{"function f(\n= end": 2, "x = = 1": 1, "\n\nreturn return": 3, "goto nowhere": 1, "for": 0, "\x1bLua": 1} {
		_, err := interp.Compile("bad.lua", text)
		var e *script.Error
		if !errors.As(err, &e) || e.File != "bad.lua" || e.Line != line || e.Message == "" {
			t.Errorf("%q: got %#v", text, err)
		}
	}
}

// Scripts that would take for ever, or everything there is.
func TestHostile(t *testing.T) {
	time5, size, depth, heap := error(errTest), script.ErrSize, script.ErrDepth, script.ErrHeap
	tests := []struct {
		name, body string
		want       error
	}{
		{"loop", `while true do end`, time5},
		{"loop in pcall", `while true do pcall(function() while true do end end) end`, time5},
		{"loop in xpcall", `xpcall(function() while true do end end, function() while true do end end)`, time5},
		{"loop in coroutine", `coroutine.wrap(function() while true do end end)()`, time5},
		{"loop in resume", `while true do coroutine.resume(coroutine.create(function() while true do end end)) end`, time5},
		{"loop in metamethod", `local t = setmetatable({}, {__index = function() while true do end end}) return t.x`, time5},
		{"loop in sort", `local t = {} for i = 1, 1000 do t[i] = i end table.sort(t, function(a, b) while true do end end)`, time5},
		{"loop in gsub", `("x"):gsub("x", function() while true do end end)`, time5},
		{"loop of goto", `::a:: goto a`, time5},
		{"loop in load", `load(function() return " " end)`, nil},
		{"recursion", `local function g() return 1 + g() end g()`, depth},
		{"recursion caught", `local function g() pcall(g) return 1 + g() end while true do pcall(g) end`, time5},
		{"tail recursion", `local function g() return g() end g()`, time5},
		{"mutual metamethods", `local a = setmetatable({}, {}) getmetatable(a).__index = function(_, k) return a[k .. "x" .. k] end return a.k`, nil},
		{"nested coroutines", `local function g() coroutine.wrap(g)() end g()`, depth},
		{"nested resumes", `local function g() coroutine.resume(coroutine.create(g)) end g() while true do end`, depth},
		{"recursion in gsub", `local function g() ("x"):gsub("x", g) end g()`, depth},
		{"recursion in tostring", `local t = setmetatable({}, {__tostring = function(t) return tostring(t) end}) tostring(t)`, depth},
		{"rep", `("x"):rep(1e9)`, size},
		{"rep of rep", `("x"):rep(1e6):rep(1e6)`, size},
		{"rep caught", `while true do pcall(string.rep, "x", 1e9) end`, size},
		{"doubling", `local s = "x" while true do s = s .. s end`, size},
		{"doubling caught", `local s = "x" while true do pcall(function() s = s .. s end) end`, size},
		{"long concatenation", `local s = ("x"):rep(1e6) return ` + strings.Repeat("s .. ", 150) + "s", size},
		{"table.concat", `local t, s = {}, ("x"):rep(1e6) for i = 1, 1000 do t[i] = s end table.concat(t)`, size},
		{"table.concat of a separator", `local t = {} for i = 1, 1000 do t[i] = "" end table.concat(t, ("x"):rep(1e6))`, size},
		{"table.concat of a range", `table.concat({}, "", 1, 1e15)`, size},
		{"gsub", `(("x"):rep(1e4)):gsub("x", ("y"):rep(1e4))`, size},
		{"gsub of captures", `(("x"):rep(1e6)):gsub("^(.*)$", ("%1"):rep(100))`, size},
		{"format", `local s = ("x"):rep(9e6) return string.format("%s%s", s, s)`, size},
		{"unpack", `return select("#", unpack({}, 1, 1e9))`, size},
		{"string.byte", `return select("#", (("x"):rep(1e6)):byte(1, -1))`, size},
		{"json", `local t = {("x"):rep(1e4)} for i = 1, 60 do t = {t, t} end json.encode(t)`, size},
		{"json of text", `local s = ("\0"):rep(9e6) while true do s = json.encode(s) end`, size},
		{"json of the same", `local t = {} for i = 1, 60 do t = {t, t} end json.encode(t)`, time5},
		{"pattern", `(("a"):rep(200)):find(("a-"):rep(30) .. "b")`, time5},
		{"pattern caught", `while true do pcall(string.find, ("a"):rep(200), ("a-"):rep(30) .. "b") end`, time5},
		{"gmatch", `for _ in (("a"):rep(200)):gmatch(("(a*)"):rep(20) .. "b") do end`, time5},
		{"sparse table", `local t = {} while true do local u = {} u[5e7] = 1 u[1e6] = 1 t[#t + 1] = u end`, heap},
		{"tables", `local t = {} for i = 1, 1e9 do t[i] = {} end`, heap},
		{"strings", `local t = {} while true do t[#t + 1] = ("x"):rep(1e6) .. #t end`, heap},
		{"a million globals", `for i = 1, 1e9 do _G["g" .. i] = i end`, heap},
		{"closures", `local f while true do local g = f f = function() return g end end`, heap},
		{"coroutines", `local t = {} while true do t[#t + 1] = coroutine.wrap(function() coroutine.yield() end) t[#t]() end`, heap},
	}
	w := script.NewWatch()
	defer w.Close()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := limits(script.Limits{Time: time.Minute})
			if tt.want == heap {
				if testing.Short() {
					t.Skip("fills memory")
				}
				l.Heap = 12 << 20
				runtime.GC() // growth is counted from what there is, which is not to be what the last one has left
			}
			if tt.want == errTest {
				l.Time = 50 * time.Millisecond
			}
			s := load(t, &interp.Options{Limits: l}, "function f()\n"+tt.body+"\nend")
			watch := w.Call(s.Interrupt)
			s.Begin(t.Context())
			watch.Begin(t.Context(), l)
			err := s.Call(s.Global("f"), 0)
			over := watch.End()
			fit := s.End()
			switch {
			case tt.want == nil:
				return // ended by itself
			case over != nil && errors.Is(err, over): // on a slow machine time or heap may run out before the bound it is after
			case tt.want == errTest || !errors.Is(err, tt.want):
				t.Errorf("got %v (the watch: %v), want %v", err, over, tt.want)
			case !script.Offence(err):
				t.Errorf("%v is no offence", err)
			case fit && !errors.Is(err, script.ErrDepth) && !errors.Is(err, script.ErrSize):
				t.Error("the state would be used again")
			}
		})
	}
}

var errTest = errors.New("the time limit")
