package front

import (
	"net"
	"net/netip"
	"strings"
)

// proxies says whose word about others is believed.
type proxies struct {
	prefixes []netip.Prefix
	depth    int
}

// trusts reports whether a is a trusted proxy.
func (p *proxies) trusts(a netip.Addr) bool {
	if len(p.prefixes) == 0 || !a.IsValid() {
		return false
	}
	a = a.Unmap().WithZone("")
	for _, prefix := range p.prefixes {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// client returns the client's address as the field lines of X-Forwarded-For tell it, from right to left. Each entry was
// written by the one to its right, and the rightmost by the peer, which the caller found trusted: the walk goes on as
// long as the writer is. What is no address ends it, with the writer as the client.
func (p *proxies) client(peer netip.AddrPort, lines []string) netip.AddrPort {
	client, n := peer, 0
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; {
			var entry string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, entry = rest[:comma], rest[comma+1:]
			} else {
				rest, entry, more = "", rest, false
			}
			if entry = strings.Trim(entry, " \t"); entry == "" {
				continue // empty list elements do not count (RFC 9110 §5.6.1)
			}
			addr, ok := parseEntry(entry)
			if !ok {
				return client
			}
			client = addr
			n++
			if p.depth > 0 && n == p.depth || p.depth == 0 && !p.trusts(addr.Addr()) {
				return client
			}
		}
	}
	return client
}

// parseEntry reads an address with or without a port; IPv6 with or without brackets. Zones mean nothing on another
// machine and are dropped. The unspecified address is nobody's.
func parseEntry(s string) (netip.AddrPort, bool) {
	if len(s) > 64 { // longer than any address with zone and port
		return netip.AddrPort{}, false
	}
	var ap netip.AddrPort
	if a, err := netip.ParseAddr(s); err == nil {
		ap = netip.AddrPortFrom(a, 0)
	} else if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		a, err := netip.ParseAddr(s[1 : len(s)-1])
		if err != nil || !a.Is6() {
			return netip.AddrPort{}, false
		}
		ap = netip.AddrPortFrom(a, 0)
	} else if ap, err = netip.ParseAddrPort(s); err != nil {
		return netip.AddrPort{}, false
	}
	a := ap.Addr().WithZone("").Unmap()
	return netip.AddrPortFrom(a, ap.Port()), !a.IsUnspecified()
}

// addrPort returns a network address as an AddrPort, not valid when it is none of IP.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// forwardedProto returns the scheme that a trusted proxy says its client used, "" when it says none.
func forwardedProto(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	first, _, _ := strings.Cut(lines[0], ",")
	switch strings.ToLower(strings.Trim(first, " \t")) {
	case "https", "wss":
		return "https"
	case "http", "ws":
		return "http"
	}
	return ""
}

// forwardedHost returns the host that a trusted proxy says its client named, "" when it says none or nonsense.
func forwardedHost(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	first, _, _ := strings.Cut(lines[0], ",")
	if first = strings.Trim(first, " \t"); !validHost(first) {
		return ""
	}
	return first
}

// appendedFor is the X-Forwarded-For that goes upstream: what came, and the peer.
func appendedFor(lines []string, peer string) string {
	switch {
	case len(lines) == 0:
		return peer
	case len(lines) == 1 && peer == "":
		return lines[0]
	case len(lines) == 1 && lines[0] == "":
		return peer
	}
	var b strings.Builder
	for _, l := range lines {
		if l == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(l)
	}
	if peer != "" {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(peer)
	}
	return b.String()
}
