package jwt

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func numbered(i int) *tokenKey {
	return &tokenKey{digest: digest{byte(i), byte(i >> 8), byte(i >> 16)}}
}

func TestTokensAreBoundedByNumber(t *testing.T) {
	tokens := NewTokens(320, 0)
	for i := range 10_000 {
		tokens.put(numbered(i), &verified{}, time.Now())
	}
	if n := tokens.Len(); n > 320 || n < 300 {
		t.Errorf("%d tokens kept, want about 320", n)
	}
}

func TestTokensAreBoundedByMemory(t *testing.T) {
	tokens := NewTokens(0, 1<<20)
	for i := range 10_000 {
		tokens.put(numbered(i), &verified{payload: make([]byte, 4<<10)}, time.Now())
	}
	size := int64(0)
	for i := range tokens.shards {
		for _, v := range tokens.shards[i].entries {
			size += v.size()
		}
	}
	if size > 1<<20 || size < 1<<19 {
		t.Errorf("%d bytes kept, want about %d", size, 1<<20)
	}
	huge := &verified{payload: make([]byte, 1<<20)}
	tokens.put(numbered(1), huge, time.Now())
	if tokens.get(numbered(1), time.Now()) == huge {
		t.Error("one token took more than its share")
	}
}

func TestTokensInUseOutliveOthers(t *testing.T) {
	tokens := NewTokens(32*8, 0) // 8 in a shard
	start := time.Now()
	same := func(i int) *tokenKey { return &tokenKey{digest: digest{7, byte(i), byte(i >> 8)}} }
	busy := &verified{}
	tokens.put(same(0), busy, start)
	for i := range 1000 {
		now := start.Add(time.Duration(i) * time.Second)
		if tokens.get(same(0), now) != busy {
			t.Fatalf("the token in use is gone after %d others", i)
		}
		tokens.put(same(i+1), &verified{}, now.Add(-time.Millisecond))
	}
}

func TestExpiredTokensMakeRoom(t *testing.T) {
	tokens := NewTokens(32*8, 0)
	now := time.Now()
	same := func(i int) *tokenKey { return &tokenKey{digest: digest{7, byte(i)}} }
	for i := range 7 {
		tokens.put(same(i), &verified{}, now.Add(-time.Hour))
	}
	tokens.put(same(7), &verified{times: times{expires: date{now.Unix() - 1, true}}}, now)
	tokens.put(same(8), &verified{}, now)
	if tokens.get(same(7), now) != nil {
		t.Error("an expired token stayed, and a good one went")
	}
}

func TestTokensOfDifferentAPIsAreApart(t *testing.T) {
	tokens := NewTokens(0, 0)
	tokens.put(&tokenKey{api: 1}, &verified{}, time.Now())
	if tokens.get(&tokenKey{api: 2}, time.Now()) != nil {
		t.Error("what one API let in, another did not look at")
	}
}

func TestTokensConcurrently(t *testing.T) {
	tokens := NewTokens(64, 0)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				k, now := numbered(i%(100+g)), time.Now()
				if v := tokens.get(k, now); v == nil {
					tokens.put(k, &verified{}, now)
				} else if i%7 == 0 {
					tokens.drop(k, v)
				}
			}
		})
	}
	wg.Wait()
	if n := tokens.Len(); n > 64 {
		t.Errorf("%d tokens kept, want at most 64", n)
	}
}

// What the strict decoder takes, encoding/json takes and sees the same in.
func FuzzParse(f *testing.F) {
	for _, payload := range []string{`{"sub":"ada","exp":1}`, `{"a":{"a":[1,{"b":null}]}}`, `{"a":1,"\u0061":2}`, `{"a" 1}`, `{"a":1,}`, `{}x`} {
		f.Add(`{"alg":"HS256","kid":"k"}`, payload, "sig")
	}
	f.Add(`{"alg":"none","crit":["b64"],"b64":false}`, `[]`, "")
	f.Fuzz(func(t *testing.T, header, payload, signature string) {
		text := encodePart(header) + "." + encodePart(payload) + "." + encodePart(signature)
		parsed, err := parse(text)
		if err != nil {
			return
		}
		if string(parsed.header) != header || string(parsed.payload) != payload || string(parsed.signature) != signature {
			t.Fatal("the parts are not what was encoded")
		}
		if !json.Valid([]byte(payload)) || !json.Valid([]byte(header)) {
			t.Fatalf("not JSON, and taken for it: %q %q", header, payload)
		}
		d := json.NewDecoder(strings.NewReader(payload))
		d.UseNumber()
		var want map[string]any
		if err := d.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if got, wanted := fmt.Sprint(parsed.claims), fmt.Sprint(want); got != wanted {
			t.Errorf("got %s, want %s", got, wanted)
		}
		for _, name := range []string{"exp", "nbf", "iat"} {
			if d, err := dateOf(parsed.claims, name); err == nil && d.said && (d.unix > 1<<53 || d.unix < -1<<53) {
				t.Errorf("%s is %d", name, d.unix)
			}
		}
	})
}

// FuzzText takes any text for a token.
func FuzzText(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := parse(text)
		if err != nil {
			return
		}
		// There is one way to write a token: what was read and is written again is the same text.
		if again := encodePart(string(parsed.header)) + "." + encodePart(string(parsed.payload)) + "." + encodePart(string(parsed.signature)); again != text {
			t.Errorf("%q was read as %q", text, again)
		}
	})
}

func FuzzFind(f *testing.F) {
	f.Add(`{"a":{"b":{"c":1}},"a.b":2}`, "a.b.c")
	f.Add(`{"":{"":1}}`, ".")
	f.Fuzz(func(t *testing.T, object, name string) {
		claims, err := decodeObject([]byte(object))
		if err != nil {
			return
		}
		got, ok := find(claims, name)
		// The same, slowly.
		want, there := claims[name]
		if !there {
			var at any = claims
			there = true
			for _, part := range strings.Split(name, ".") {
				inner, isObject := at.(map[string]any)
				if at, there = inner[part]; !isObject || !there {
					at, there = nil, false
					break
				}
			}
			want = at
		}
		if ok != there || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("find(%s, %q) = %v, %v; want %v, %v", object, name, got, ok, want, there)
		}
		text(claims, name)
		scopes(claims, name)
		identityOf(claims, name)
	})
}

func encodePart(s string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(s))
}
