package authn

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest"
)

func FuzzBasic(f *testing.F) {
	f.Add("Basic YWxpY2U6b3BlbiBzZXNhbWU=")
	f.Add("basic  Og==")
	f.Fuzz(func(t *testing.T, s string) {
		user, password, err := parseBasic(s)
		if err != nil {
			return
		}
		if user == "" || strings.Contains(user, ":") || len(user) > maxUser || len(password) > maxPassword {
			t.Fatalf("%q: got %q, %q", s, user, password)
		}
		again, same, err := parseBasic("Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
		if err != nil || again != user || same != password {
			t.Fatalf("%q: got %q, %q, then %q, %q, %v", s, user, password, again, same, err)
		}
	})
}

// A credential that is found stands in the request, and is found no more once it is taken off.
func FuzzCredential(f *testing.F) {
	f.Add("t0ken", "a=b; session=t0ken", "key=t0ken&a=b")
	f.Add("Bearer  x", `session="x"; session=y`, "k%65y=%zz")
	method := config.TokenAuth{Credential: config.Credential{Header: "Key", Param: "key", Cookie: "session"}}
	strip := NewStrip(&config.Auth{Strip: true, All: []config.AuthMethod{{Kind: config.AuthToken, Token: method}}}, config.Credential{})
	c := NewCredential(method.Credential)
	f.Fuzz(func(t *testing.T, header, cookie, query string) {
		var x sdk.Exchange
		x.Reset(sdk.Init{Route: &sdk.Route{}})
		x.Request().Fill(sdk.RequestInit{Query: query})
		x.Request().Header().Append("Key", header)
		x.Request().Header().Append("Cookie", cookie)
		found, err := c.Find(&x)
		if err == nil && (found == "" || found != header && !strings.Contains(cookie, found) && !x.Request().Query().Has("key")) {
			t.Fatalf("found %q", found)
		}
		strip.Apply(&x)
		if found, err := c.Find(&x); !IsMissing(err) {
			t.Fatalf("found %q, %v after all was taken off", found, err)
		}
	})
}

// An id is extracted or refused, and no expression panics.
func FuzzExtractor(f *testing.F) {
	f.Add("<a><id>abc</id></a>", uint8(0))
	f.Add(`<a:b c="d"><!-- e --><![CDATA[f]]><?g h?></a:b>`, uint8(1))
	f.Add("a=b&id=c", uint8(2))
	var extractors []*Extractor
	for _, e := range []config.IDExtractor{
		extract("body", "xpath", "", "//id", 0), extract("body", "xpath", "", "concat(/*/@id, string(//id[last()]))", 0),
		extract("form", "value", "id", "", 0), extract("body", "regex", "", "[a-f]+", 1),
		extract("body", "xpath", "", "//*[substring(., 1, number(@n)) = 'a']/preceding::*", 0),
	} {
		compiled, err := CompileExtractor(e)
		if err != nil {
			f.Fatal(err)
		}
		extractors = append(extractors, compiled)
	}
	f.Fuzz(func(t *testing.T, body string, which uint8) {
		b := sdktest.Request("POST", "/").Header("Content-Type", "application/x-www-form-urlencoded").Body(body)
		if id, err := extractors[int(which)%len(extractors)].ID(exchange(b)); (err == nil) != (len(id) == 32) {
			t.Fatalf("got %q, %v", id, err)
		}
	})
}
