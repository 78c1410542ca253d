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

// special are the ranges that IANA lists as not globally reachable, and those that carry another address in them.
func special() []netip.Prefix {
	var all []netip.Prefix
	for _, p := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"224.0.0.0/4", "240.0.0.0/4",
		"::/128", "::1/128", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",
		"3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "ff00::/8",
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
	addr := to.Addr().Unmap().WithZone("")
	has := func(p netip.Prefix) bool { return p.Contains(addr) }
	if slices.ContainsFunc(g.special, has) && !slices.ContainsFunc(g.allowed, has) {
		return &forbiddenError{addr}
	}
	return nil
}

// forbiddenError is why a connection was refused.
type forbiddenError struct{ addr netip.Addr }

// Error implements error.
func (e *forbiddenError) Error() string {
	return fmt.Sprintf("%s is not an address of the internet: list it under allow if it may be reached", e.addr)
}
