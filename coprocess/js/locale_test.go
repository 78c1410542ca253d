package js

import (
	"strings"
	"testing"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// localeCompareTests are scripts that return an array, and that joined. Where goja's own localeCompare is as the
// specification has it, goja says the same.
var localeCompareTests = []struct {
	name, code, want string
	ours             bool // goja has another result
}{
	{name: "words", code: `return ["b", "ä", "a", "Z", "z", "é", "e", "10", "2", "-"].sort(function (a, b) { return a.localeCompare(b); })`, want: `-|10|2|a|ä|b|e|é|z|Z`, ours: true}, // and so has goja, but for that of .ci/lean
	{name: "results", code: `return ["a".localeCompare("b"), "b".localeCompare("a"), "a".localeCompare("a"), "é".localeCompare("e\u0301"), "\u1100\u1161".localeCompare("가")]`, want: `-1|1|0|0|0`},
	{name: "the property", code: `var d = Object.getOwnPropertyDescriptor(String.prototype, "localeCompare"), f = d.value,
		l = Object.getOwnPropertyDescriptor(f, "length"), n = Object.getOwnPropertyDescriptor(f, "name");
		return [d.enumerable, l.value, l.writable, l.enumerable, l.configurable, n.value, n.writable, n.enumerable, n.configurable, "prototype" in f,
			Object.getPrototypeOf(f) === Function.prototype, Object.isExtensible(f)]`,
		want: `false|1|false|false|true|localeCompare|false|false|true|false|true|true`},
	{name: "no constructor", code: `try { new ("".localeCompare)(); } catch (e) { return [e instanceof TypeError]; }`, want: `true`},
	{name: "its place", code: `var names = Object.getOwnPropertyNames(String.prototype); return [names[names.indexOf("localeCompare") - 1], names[names.indexOf("localeCompare") + 1]]`,
		want: `lastIndexOf|match`},
	{name: "conversions", code: `var f = String.prototype.localeCompare; return [f.call(1, "1"), f.call(true, "true"), f.call([1, 2], "1,2"), f.call({}, "[object Object]"), f.call(new String("a"), "a"),
		"null".localeCompare(null), "undefined".localeCompare(), "undefined".localeCompare(undefined), "1.5".localeCompare(1.5), "12345678901234567890".localeCompare(BigInt("12345678901234567890")), f.call(-0, "0")]`,
		want: `0|0|0|0|0|0|0|0|0|0|0`},
	{name: "order of conversions", code: `var seen = [], o = function (n) { return {toString: function () { seen.push(n); return n; }}; };
		String.prototype.localeCompare.call(o("this"), o("that")); return seen`, want: `this|that`},
	{name: "valueOf and toPrimitive", code: `var p = {}; p[Symbol.toPrimitive] = function (hint) { return hint; };
		return ["string".localeCompare(p), "7".localeCompare({toString: null, valueOf: function () { return 7; }})]`, want: `0|0`},
	{name: "of nothing", code: `return [null, undefined].map(function (v) { try { String.prototype.localeCompare.call(v, {toString: function () { throw 1; }}); } catch (e) { return e.name + ": " + e.message; } })`,
		want: `TypeError: Value is not object coercible|TypeError: Value is not object coercible`},
	{name: "symbols", code: `var s = {toString: function () { return Symbol("x"); }};
		return [function () { "a".localeCompare(Symbol("x")); }, function () { String.prototype.localeCompare.call(Symbol("x"), "a"); }, function () { "a".localeCompare(s); }].map(function (f) {
			try { f(); } catch (e) { return e.name + ": " + e.message; } })`,
		want: strings.Repeat("|TypeError: Cannot convert a Symbol value to a string", 3)[1:]},
	{name: "what conversions throw", code: `try { "a".localeCompare({toString: function () { throw "mine"; }}); } catch (e) { return [e]; }`, want: `mine`},
	{name: "not convertible", code: `try { "a".localeCompare(Object.create(null)); } catch (e) { return [e.name]; }`, want: `TypeError`},
	{name: "controls", code: `return ["a\0".localeCompare("a"), "a".localeCompare("a\0"), "a\u200d".localeCompare("a")]`, want: `1|-1|1`, ours: true},
	{name: "lone surrogates", ours: true, code: `var a = "x\ud800y", b = "x\udc80y", c = "x\ufffdy", d = "x\ud83d\ude00y";
		return [a.localeCompare(b), b.localeCompare(a), a.localeCompare(a), b.localeCompare(c), c.localeCompare(a), a.localeCompare("x\ud800y"), d.localeCompare(d), d.localeCompare(a) !== 0, (d + a).localeCompare(d + b)]`,
		want: `-1|1|0|-1|1|0|0|true|-1`},
}

// TestLocaleCompare: scripts have a localeCompare of ours in every build, and can tell it from goja's by the order alone.
func TestLocaleCompare(t *testing.T) {
	for _, tt := range localeCompareTests {
		t.Run(tt.name, func(t *testing.T) {
			code := `(function () { ` + tt.code + ` })().join("|")`
			s := opened(t, `exports.pre = function (x) { x.request.headers.set("X-Out", `+code+`); };`, Options{}, nil)
			x, _ := coprocesstest.NewExchange()
			if err := handle(t, t.Context(), s, "pre", x, sdk.Pre); err != nil {
				t.Fatal(err)
			}
			if got := x.Request().Header().Get("X-Out"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.ours {
				return
			}
			if v, err := goja.New().RunString(code); err != nil || v.String() != tt.want {
				t.Errorf("goja has %v (%v)", v, err)
			}
		})
	}
}

// A call cannot take it away for the next.
func TestLocaleCompareStays(t *testing.T) {
	s := opened(t, `exports.pre = function (x) { x.request.headers.set("X-Out", "" + "a".localeCompare("b")); String.prototype.localeCompare = function () { return 7; }; };`, Options{}, nil)
	for range 2 {
		x, _ := coprocesstest.NewExchange()
		if err := handle(t, t.Context(), s, "pre", x, sdk.Pre); err != nil {
			t.Fatal(err)
		}
		if got := x.Request().Header().Get("X-Out"); got != "-1" {
			t.Errorf("got %q", got)
		}
	}
}

func BenchmarkLocaleCompare(b *testing.B) {
	code := `var l = []; for (var i = 0; i < 1000; i++) { l.push(["Zoë", "apple", "Éclair", "pear", "/users/", "Content-"][i % 6] + (i * 7919 % 1000)); }
		l.sort(function (a, b) { return a.localeCompare(b); });`
	b.Run("ours", func(b *testing.B) {
		s := opened(b, `exports.h = function (x) { `+code+` };`, Options{}, nil)
		x, _ := coprocesstest.NewExchange()
		for b.Loop() {
			if err := handle(b, b.Context(), s, "h", x, sdk.Pre); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("goja", func(b *testing.B) {
		vm, p := goja.New(), goja.MustCompile("sort.js", `(function () { `+code+` })()`, false)
		for b.Loop() {
			if _, err := vm.RunProgram(p); err != nil {
				b.Fatal(err)
			}
		}
	})
}
