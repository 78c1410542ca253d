package authn

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest"
)

const (
	abcID   = "e99a18c428cb38d5f260853678922e03" // MD5 of abc123 by Python's hashlib
	nothing = "400 Authorization field missing"
)

func extract(from config.ExtractFrom, with config.ExtractWith, name, expression string, index int) config.IDExtractor {
	return config.IDExtractor{From: from, With: with, Name: name, Expression: expression, Index: index}
}

func TestExtractor(t *testing.T) {
	form := func(body string) *sdktest.Builder {
		return sdktest.Request("POST", "/?q=abc123&both=abc123").Header("Content-Type", "application/x-www-form-urlencoded; charset=utf-8").Body(body)
	}
	text := func(body string) *sdktest.Builder { return sdktest.Request("POST", "/").Body(body) }
	tests := []struct {
		name string
		e    config.IDExtractor
		b    *sdktest.Builder
		want string
	}{
		{"header", extract("header", "value", "X-Id", "", 0), request("/", "x-id: abc123"), abcID},
		{"no header", extract("header", "value", "X-Id", "", 0), request("/"), nothing},
		{"empty header", extract("header", "value", "X-Id", "", 0), request("/", "X-Id: "), nothing},
		{"two headers", extract("header", "value", "X-Id", "", 0), request("/", "X-Id: abc123", "X-Id: b"), nothing},
		{"query", extract("query", "value", "q", "", 0), request("/?q=abc12%33"), abcID},
		{"no query", extract("query", "value", "q", "", 0), request("/"), nothing},
		{"two in the query", extract("query", "value", "q", "", 0), request("/?q=abc123&q=b"), nothing},
		{"form", extract("form", "value", "f", "", 0), form("a=b&f=abc123"), abcID},
		{"form, in the query", extract("form", "value", "q", "", 0), form(""), abcID},
		{"form, in both, the same", extract("form", "value", "both", "", 0), form("both=abc123"), abcID},
		{"form, in both, differing", extract("form", "value", "both", "", 0), form("both=b"), nothing},
		{"form of another type", extract("form", "value", "f", "", 0), text("f=abc123"), nothing},
		{"regex in header", extract("header", "regex", "X-Id", "[^:]+$", 0), request("/", "X-Id: id:abc123"), abcID},
		{"regex in body, second match", extract("body", "regex", "", "[a-z]+[0-9]+", 1), text("x1 abc123 y2"), abcID},
		{"regex takes no group", extract("body", "regex", "", "a(bc|x)123", 0), text("abc123"), abcID},
		{"regex, index out of range", extract("body", "regex", "", "[a-z]+[0-9]+", 3), text("x1 abc123 y2"), nothing},
		{"regex, no match", extract("body", "regex", "", "[0-9]+", 0), text("abc"), nothing},
		{"regex, empty match", extract("body", "regex", "", "[0-9]*", 0), text("abc"), nothing},
		{"empty body", extract("body", "regex", "", "[0-9]+", 0), text(""), nothing},
		{"regex in form", extract("form", "regex", "f", "[a-z]+[0-9]+", 0), form("f=%3aabc123"), abcID},
		{"xpath", extract("body", "xpath", "", "//id", 0), text("<a><b/><id>abc<!-- x -->123</id><id>2</id></a>"), abcID},
		{"xpath, attribute", extract("body", "xpath", "", "/a/b[2]/@id", 0), text(`<a><b id="1"/><b x="2" id="abc123"/></a>`), abcID},
		{"xpath, string", extract("body", "xpath", "", "concat(//a, //b)", 0), text("<x><a>abc</a><b>123</b></x>"), abcID},
		{"xpath, CDATA", extract("body", "xpath", "", "//id/text()", 0), text("<id>a<![CDATA[bc]]>123</id>"), abcID},
		{"xpath, prefix", extract("body", "xpath", "", "//s:id", 0), text(`<s:e xmlns:s="urn:s"><s:id>abc123</s:id></s:e>`), abcID},
		{"xpath, predicate", extract("body", "xpath", "", "//u[@k='2']/id", 0), text("<a><u k='1'><id>1</id></u><u k='2'><id>abc123</id></u></a>"), abcID},
		{"xpath, parent and sibling", extract("body", "xpath", "", "//k/../following-sibling::id", 0), text("<a><u><k/></u><id>abc123</id></a>"), abcID},
		{"xpath, last", extract("body", "xpath", "", "//id[last()]", 0), text("<a><id>1</id><id>abc123</id></a>"), abcID},
		{"xpath in header", extract("header", "xpath", "X-Id", "//id", 0), request("/", "X-Id: <id>abc123</id>"), abcID},
		{"xpath, predefined entity", extract("body", "xpath", "", "//id", 0), text("<id>&#97;bc123</id>"), abcID},
		{"xpath, miss", extract("body", "xpath", "", "//id", 0), text("<a/>"), nothing},
		{"xpath, empty node", extract("body", "xpath", "", "//id", 0), text("<a><id/></a>"), nothing},
		{"no XML", extract("body", "xpath", "", "//id", 0), text(`{"id": 1}`), nothing},
		{"two roots", extract("body", "xpath", "", "//id", 0), text("<id>abc123</id><id>b</id>"), nothing},
		{"not closed", extract("body", "xpath", "", "//id", 0), text("<a><id>abc123</id>"), nothing},
		{"closed crosswise", extract("body", "xpath", "", "//id", 0), text("<a><id>abc123</a></id>"), nothing},
		{"closed by another prefix", extract("body", "xpath", "", "//id", 0), text("<a:id>abc123</b:id>"), nothing},
		{"entity of its own", extract("body", "xpath", "", "//id", 0), text(`<!DOCTYPE a [<!ENTITY e "abc123">]><id>&e;</id>`), nothing},
		{"another encoding", extract("body", "xpath", "", "//id", 0), text(`<?xml version="1.0" encoding="latin1"?><id>abc123</id>`), nothing},
		{"deep", extract("body", "xpath", "", "//id", 0), text(strings.Repeat("<a>", 1000) + strings.Repeat("</a>", 1000)), nothing},
		{"many", extract("body", "xpath", "", "//id", 0), text("<a>" + strings.Repeat("<b/>", 10_000) + "</a>"), nothing},
		{"many attributes", extract("body", "xpath", "", "//id", 0), text("<a" + strings.Repeat(" b=''", 10_000) + "/>"), nothing},
		{"large", extract("body", "xpath", "", "//id", 0), text("<id>" + strings.Repeat("a", 1<<20) + "</id>"), nothing},
		{"many CDATA sections", extract("body", "xpath", "", "//id", 0), text("<a>" + strings.Repeat("<![CDATA[a]]>", 60_000) + "</a>"), nothing},
		{"many steps", extract("body", "xpath", "", "//b[following-sibling::c]", 0), text("<a>" + strings.Repeat("<b/>", 9000) + "</a>"), nothing},
		{"much text, often", extract("body", "xpath", "", "//*[contains(., 'x')]", 0),
			text(strings.Repeat("<a>", 60) + strings.Repeat("<b>"+strings.Repeat("y", 80)+"</b>", 4000) + strings.Repeat("</a>", 60)), nothing},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, err := CompileExtractor(test.e)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // expressions are used again
				if got := extracted(t, e, test.b); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			}
		})
	}
}

func extracted(t testing.TB, e *Extractor, b *sdktest.Builder) string {
	id, err := e.ID(exchange(b))
	var refusal *sdk.Error
	if errors.As(err, &refusal) {
		if strings.Contains(err.Error(), "abc") {
			t.Errorf("the error tells what was sent: %v", err)
		}
		return fmt.Sprintf("%d %s", refusal.Status, refusal.Message)
	}
	if err != nil {
		return err.Error()
	}
	return id
}

func TestExtractorRefused(t *testing.T) {
	tests := []struct {
		e    config.IDExtractor
		want string
	}{
		{extract("body", "value", "", "", 0), "whole body"},
		{extract("header", "value", "", "", 0), "name"},
		{extract("cookie", "value", "a", "", 0), "from"},
		{extract("header", "", "a", "", 0), "with"},
		{extract("", "value", "a", "", 0), "from"},
		{extract("header", "regex", "a", "", 0), "expression"},
		{extract("header", "regex", "a", "(", 0), "expression"},
		{extract("header", "regex", "a", "token", 0), "constant"},
		{extract("header", "regex", "a", ".+", -1), "index"},
		{extract("header", "regex", "a", ".+", maxIndex+1), "index"},
		{extract("header", "xpath", "a", "", 0), "XPath"},
		{extract("header", "xpath", "a", "//[", 0), "expression"},
		{extract("header", "xpath", "a", "'token'", 0), "constant"},
		{extract("header", "xpath", "a", "1 = 1", 0), "neither"},
		{extract("header", "xpath", "a", "count(//a)", 0), "neither"},
	}
	for _, test := range tests {
		if _, err := CompileExtractor(test.e); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: got %v, want %q", test.e, err, test.want)
		}
	}
	e, err := CompileExtractor(config.IDExtractor{})
	if e != nil || err != nil || e.NeedsBody() {
		t.Error("no extractor is nil, and needs nothing")
	}
}

func TestExtractorNeedsBody(t *testing.T) {
	for _, test := range []struct {
		e    config.IDExtractor
		want bool
	}{
		{extract("body", "regex", "", "a+", 0), true}, {extract("form", "value", "a", "", 0), true},
		{extract("header", "value", "a", "", 0), false}, {extract("query", "value", "a", "", 0), false},
	} {
		e, err := CompileExtractor(test.e)
		if err != nil || e.NeedsBody() != test.want {
			t.Errorf("%+v: %v, %v", test.e, err, e.NeedsBody())
		}
		if _, err := e.ID(sdktest.Request("POST", "/").Body("aaa").Exchange(sdk.Auth, sdk.Needs{}, nil)); errors.Is(err, errBody) != test.want {
			t.Errorf("%+v on a body that is not buffered: %v", test.e, err)
		}
	}
}

// One extractor serves many requests at a time.
func TestExtractorConcurrent(t *testing.T) {
	e, err := CompileExtractor(extract("header", "xpath", "X-Id", "concat(//id[1], '')", 0))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan string)
	for range 8 {
		go func() {
			got := abcID
			for range 200 {
				if id := extracted(t, e, request("/", "X-Id: <a><id>abc123</id><id>2</id></a>")); id != abcID {
					got = id
				}
			}
			done <- got
		}()
	}
	for range 8 {
		if got := <-done; got != abcID {
			t.Errorf("got %q", got)
		}
	}
}
