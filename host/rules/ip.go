package rules

import (
	"net/netip"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// IP admits and refuses client addresses.
type IP struct {
	allow, block addresses
}

// CompileIP compiles lists; nil when both are empty.
func CompileIP(lists config.IP) *IP {
	if len(lists.Allow)+len(lists.Block) == 0 {
		return nil
	}
	return &IP{allow: newAddresses(lists.Allow), block: newAddresses(lists.Block)}
}

// Check returns nil for an admitted address, else an [*sdk.Error] with status 403. IPv4 addresses mapped into IPv6 are
// IPv4 addresses, on both sides, and zones do not count. The zero Addr, of a client without an address, is refused:
// nobody can tell that it is allowed or is not blocked.
func (ip *IP) Check(addr netip.Addr) error {
	if ip == nil {
		return nil
	}
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() || ip.block.contain(addr) || !ip.allow.empty() && !ip.allow.contain(addr) {
		return sdk.Errorf(403, "access from this IP has been disallowed")
	}
	return nil
}

// addresses is a set: single addresses in a map, so that long lists cost nothing, and prefixes.
type addresses struct {
	single   map[netip.Addr]struct{}
	prefixes []netip.Prefix
}

func newAddresses(prefixes []netip.Prefix) addresses {
	a := addresses{single: map[netip.Addr]struct{}{}}
	for _, p := range prefixes {
		p = unmap(p)
		if p.IsSingleIP() {
			a.single[p.Addr()] = struct{}{}
		} else {
			a.prefixes = append(a.prefixes, p)
		}
	}
	return a
}

// unmap turns ::ffff:10.0.0.0/104 into 10.0.0.0/8. A shorter prefix of the mapped range holds more than IPv4 and stays,
// beside which clients are never seen in it.
func unmap(p netip.Prefix) netip.Prefix {
	const mapped = 96
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p.Masked()
}

func (a *addresses) empty() bool { return len(a.single)+len(a.prefixes) == 0 }

func (a *addresses) contain(addr netip.Addr) bool {
	if _, ok := a.single[addr]; ok {
		return true
	}
	for _, p := range a.prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
