package rules

import (
	"net/netip"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func TestIPCheck(t *testing.T) {
	none := CompileIP(config.IP{})
	allow := CompileIP(config.IP{Allow: prefixes("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::ffff:198.51.100.0/120")})
	block := CompileIP(config.IP{Block: prefixes("10.0.0.0/8", "fe80::/10", "::ffff:192.0.2.7/128")})
	both := CompileIP(config.IP{Allow: prefixes("10.0.0.0/8"), Block: prefixes("10.1.0.0/16")})
	all := CompileIP(config.IP{Block: prefixes("0.0.0.0/0")})
	tests := []struct {
		name string
		ip   *IP
		addr string
		want bool
	}{
		{"none", none, "10.0.0.1", true},
		{"none without address", none, "", true},
		{"allow prefix", allow, "10.1.2.3", true},
		{"allow mapped", allow, "::ffff:10.1.2.3", true},
		{"allow single", allow, "192.0.2.7", true},
		{"allow next to single", allow, "192.0.2.8", false},
		{"allow mapped prefix", allow, "198.51.100.9", true},
		{"allow outside mapped prefix", allow, "198.51.101.9", false},
		{"allow v6", allow, "2001:db8::1", true},
		{"allow other v6", allow, "2001:db9::1", false},
		{"allow without address", allow, "", false},
		{"block prefix", block, "10.1.2.3", false},
		{"block mapped", block, "::ffff:10.1.2.3", false},
		{"block zone", block, "fe80::1%eth0", false},
		{"block mapped single", block, "192.0.2.7", false},
		{"block other", block, "192.0.2.8", true},
		{"block without address", block, "", false},
		{"both allowed", both, "10.0.0.1", true},
		{"both blocked", both, "10.1.0.1", false},
		{"both outside", both, "11.0.0.1", false},
		{"all IPv4", all, "::ffff:1.2.3.4", false},
		{"all IPv4, v6", all, "::1", true},
	}
	for _, test := range tests {
		var addr netip.Addr
		if test.addr != "" {
			addr = netip.MustParseAddr(test.addr)
		}
		err := test.ip.Check(addr)
		if (err == nil) != test.want {
			t.Errorf("%s: got %v", test.name, err)
		}
		if err != nil && err.Error() != "403 access from this IP has been disallowed" {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}
