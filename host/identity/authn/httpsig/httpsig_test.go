package httpsig

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest"
)

const date = "Sat, 01 Jan 2000 00:00:05 GMT"

func received(b *sdktest.Builder) *sdk.Request {
	return b.Exchange(sdk.Auth, sdk.Needs{Fields: sdk.NeedDefault | sdk.NeedBody}, nil).Request()
}

func TestParse(t *testing.T) {
	tests := []struct {
		text string
		want string // names of what was read; empty: an error
	}{
		{`Signature keyId="a",signature="AAAA"`, "a||date"},
		{`Signature keyId="a", algorithm=b ,headers="x  Y",signature="AAAA"`, "a|b|x y"},
		{`Signature keyId="a,b=c",signature="AAAA"`, "a,b=c||date"},
		{`Signature keyId="a",keyId="b",signature="AAAA"`, ""},
		{`Signature keyId="a",KeyID="a",signature="AAAA"`, ""},
		{`Signature keyId="",signature="AAAA"`, ""},
		{`Signature keyId="a",signature=""`, ""},
		{`Signature keyId="a"`, ""},
		{`Signature keyId="a,signature="AAAA"`, ""},
		{`Signature keyId="a"b,signature="AAAA"`, ""},
		{`Signature keyId="a\"b",signature="AAAA"`, ""},
		{`Signature keyId=a"b,signature="AAAA"`, ""},
		{`Signature keyId="a",signature="AAAA",`, ""},
		{`Signature keyId="a",,signature="AAAA"`, ""},
		{`Signature ="a",signature="AAAA"`, ""},
		{`Signature keyId="a",signature="AA%zz"`, ""},
		{`Signature keyId="a",signature="AAAB="`, ""},
		{`Signature keyId="a",headers="x x",signature="AAAA"`, ""},
		{`Signature keyId="a",headers="(created)",signature="AAAA"`, ""},
		{`Signature keyId="a",headers=" ",signature="AAAA"`, ""},
		{`Signature keyId="a",headers="` + strings.Repeat("x ", 65) + `",signature="AAAA"`, ""},
		{`Signature keyId="` + strings.Repeat("a", maxSignature) + `",signature="AAAA"`, ""},
		{`Signature`, ""},
		{``, ""},
	}
	for _, test := range tests {
		got := ""
		if s, err := Parse(strings.TrimPrefix(test.text, "Signature")); err == nil {
			got = s.KeyID + "|" + s.Algorithm + "|" + strings.Join(s.Headers, " ")
		}
		if got != test.want {
			t.Errorf("%.80s: got %q, want %q", test.text, got, test.want)
		}
	}
}

func TestTarget(t *testing.T) {
	for uri, want := range map[string]string{
		"/a?b": "/a?b", "http://h": "/", "http://h?b": "/?b", "http://h/a?b://c/d": "/a?b://c/d", "*": "*", "": "",
	} {
		var r sdk.Request
		r.Fill(sdk.RequestInit{URI: uri})
		if got := target(&r); got != want {
			t.Errorf("%s: got %q, want %q", uri, got, want)
		}
	}
	var r sdk.Request
	r.Fill(sdk.RequestInit{Length: 7})
	if got, err := Message(&r, []string{"content-length"}); err != nil || string(got) != "content-length: 7" {
		t.Errorf("got %q, %v", got, err)
	}
	r.Header().Append("X", strings.Repeat("x", maxMessage))
	if _, err := Message(&r, []string{"x"}); err != errTooLong {
		t.Errorf("got %v", err)
	}
}

// A date that counts must be signed, or anybody could make an old signature young.
func TestDate(t *testing.T) {
	r := received(sdktest.Request("GET", "/").Header("Date", date).Header("X-Aux-Date", "Sat, 01 Jan 2000 00:00:09 GMT"))
	plain := received(sdktest.Request("GET", "/").Header("Date", date))
	for _, test := range []struct {
		r      *sdk.Request
		signed string
		want   int64 // second, -1 for none
	}{
		{plain, "date", 5}, {plain, "host", -1}, {plain, "x-aux-date", -1},
		{r, "x-aux-date", 9}, {r, "date", 9}, {r, "host", -1},
	} {
		got, ok := Date(test.r, strings.Fields(test.signed))
		if ok != (test.want >= 0) || ok && got.Unix() != 946684800+test.want {
			t.Errorf("signed %s: got %v, %v", test.signed, got, ok)
		}
	}
	for _, s := range []string{date, "Sat, 01 Jan 2000 00:00:05 UTC", "Sat, 01 Jan 2000 01:00:05 +0100", "Saturday, 01-Jan-00 00:00:05 GMT", "Sat Jan  1 00:00:05 2000"} {
		if got, ok := parseDate(s); !ok || got.Unix() != 946684805 {
			t.Errorf("%s: got %v, %v", s, got, ok)
		}
	}
}

func TestDigest(t *testing.T) {
	const body = `{"a":1}` // its digests are those of Python's hashlib
	const sum256, sum512 = "AVq9f1zFei3ZS3WQ8ErYCEJzkF7jPsXOvq5iJ2qX+GI=", "77eoKY+QWudD2+IVLhYkFfYqFtLVrFx4gW3NVxFOeldHKbgTmI8dCYTPbzjE/Mmjfqn+w9o1GYNTb3J4XXq3Bw=="
	tests := []struct {
		name, header, value, body string
		want                      error
	}{
		{"sha-256", "Digest", "SHA-256=" + sum256, body, nil},
		{"sha-512", "Digest", "sha-512=" + sum512, body, nil},
		{"both", "Digest", "SHA-256=" + sum256 + ", SHA-512=" + sum512, body, nil},
		{"as structured field", "Content-Digest", "sha-256=:" + sum256 + ":", body, nil},
		{"one is wrong", "Digest", "SHA-256=" + sum256 + ", SHA-512=" + sum256, body, errDigest},
		{"another body", "Digest", "SHA-256=" + sum256, body + " ", errDigest},
		{"no body", "Digest", "SHA-256=" + sum256, "", errDigest},
		{"unknown alone", "Digest", "MD5=abc", body, errDigest},
		{"no base64", "Digest", "SHA-256=#", body, errDigest},
	}
	for _, test := range tests {
		r := received(sdktest.Request("POST", "/").Body(test.body).Header(test.header, test.value))
		if got := VerifyDigests(r, []string{"date", strings.ToLower(test.header)}); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

// What parses is what it parses to when written down again.
func FuzzParse(f *testing.F) {
	f.Add(`keyId="mac",algorithm="hmac-sha256",headers="(request-target) host date",signature="vulvuY7x4cSJ5zWjAT1NyLZUbG7Hss+cqBaGkr6U7/o="`)
	f.Add(`keyId=a,signature=AA%2B%3D%3D,headers="(request-target) x-aux-date"`)
	f.Add(`keyId="a" , foo=bar, signature="AAAA"`)
	f.Fuzz(func(t *testing.T, s string) {
		sig, err := Parse(s)
		if err != nil {
			return
		}
		if sig.KeyID == "" || len(sig.MAC) == 0 || len(sig.Headers) == 0 || len(sig.Headers) > maxSigned || len(s) > maxSignature+100 {
			t.Fatalf("%q: got %+v", s, sig)
		}
		again := `keyId="` + sig.KeyID + `",headers="` + strings.Join(sig.Headers, " ") + `",signature="` + base64.StdEncoding.EncodeToString(sig.MAC) + `"`
		if sig.Algorithm != "" {
			again += `,algorithm="` + sig.Algorithm + `"`
		}
		twin, err := Parse(again)
		if err != nil || twin.KeyID != sig.KeyID || twin.Algorithm != sig.Algorithm || !bytes.Equal(twin.MAC, sig.MAC) ||
			strings.Join(twin.Headers, " ") != strings.Join(sig.Headers, " ") {
			t.Fatalf("%q: got %+v, then %+v, %v", s, sig, twin, err)
		}
	})
}
