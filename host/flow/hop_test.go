package flow

import (
	"slices"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestHopByHop(t *testing.T) {
	for _, n := range []string{
		"Connection", "keep-alive", "Proxy-Connection", "te", "Trailer", "Transfer-Encoding", "UPGRADE",
		"Proxy-Authorization", "Proxy-Authenticate",
	} {
		if !HopByHop(n) {
			t.Errorf("%s is hop-by-hop", n)
		}
	}
	for _, n := range []string{"", "Te2", "Tracing", "Content-Length", "Host", "X-Keep-Alive", "Authorization"} {
		if HopByHop(n) {
			t.Errorf("%s is not hop-by-hop", n)
		}
	}
}

func TestConnectionNames(t *testing.T) {
	tests := []struct {
		values, want []string
	}{
		{nil, nil},
		{[]string{"keep-alive"}, nil},
		{[]string{"close, Upgrade"}, nil},
		{[]string{"X-A ,\tx-b", "Keep-Alive,,x-c"}, []string{"X-A", "x-b", "x-c"}},
	}
	for _, tt := range tests {
		var h sdk.Header
		for _, v := range tt.values {
			h.Append("connection", v)
		}
		if got := ConnectionNames(&h); !slices.Equal(got, tt.want) {
			t.Errorf("%q: got %q, want %q", tt.values, got, tt.want)
		}
	}
}
