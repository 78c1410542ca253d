package webhook

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// guard refuses connections to addresses that are nobody's in the internet, but for those that are allowed: whoever
// chooses a URL, or answers for its name, is not to reach what only the gateway can (OWASP: server-side request forgery).
// It judges the address that is connected to, after the name was looked up.
type guard struct{ special, allowed []netip.Prefix }

func newGuard(allowed []netip.Prefix) *guard { return &guard{special(), allowed} }

// special are the ranges that IANA lists as not globally reachable, and those that carry another address in them (but for
// ISATAP's, see within, and prefixes that a network has chosen for its own NAT64, which nobody can know).
func special() []netip.Prefix {
	var all []netip.Prefix
	for _, p := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"224.0.0.0/4", "240.0.0.0/4",
		// Of IPv6 nothing but 2000::/3 is given out: loopback, NAT64, local and link-local addresses are all outside.
		"::/3", "4000::/2", "8000::/1", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
	} {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// control is a net.Dialer's.
func (g *guard) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return g.judge(to.Addr())
}

// judge says why an address may not be connected to.
func (g *guard) judge(addr netip.Addr) error {
	addr = within(addr.Unmap().WithZone(""))
	has := func(p netip.Prefix) bool { return p.Contains(addr) }
	if slices.ContainsFunc(g.special, has) && !slices.ContainsFunc(g.allowed, has) {
		return &forbiddenError{addr}
	}
	return nil
}

// within returns the address of IPv4 that one of ISATAP leads to (RFC 5214 §6.1), and any other as it is.
func within(addr netip.Addr) netip.Addr {
	if b := addr.As16(); addr.Is6() && b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return addr
}

// forbiddenError is why a connection was refused.
type forbiddenError struct{ addr netip.Addr }

// Error implements error.
func (e *forbiddenError) Error() string {
	return fmt.Sprintf("%s is not an address of the internet: list it under allow if it may be reached", e.addr)
}
