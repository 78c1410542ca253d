// Package address reads the addresses of plugin servers.
package address

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Target is a parsed address.
type Target struct {
	Network string // unix or tcp
	Address string // to dial; of a dns target, host:port
	DNS     bool   // Address stands for all its host's addresses
}

// Parse reads unix:PATH, unix:///PATH, tcp://host:port, host:port, or dns:///host:port for all addresses of a name.
func Parse(s string) (Target, error) {
	bad := func(why string) (Target, error) {
		return Target{}, fmt.Errorf("plugin server address %q: %s: want unix:PATH, tcp://host:port, host:port or dns:///host:port", s, why)
	}
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if rest, ok := strings.CutPrefix(path, "//"); ok {
			if path = rest; !strings.HasPrefix(path, "/") {
				return bad("a path after unix:// is absolute")
			}
		}
		if path == "" {
			return bad("no path")
		}
		return Target{Network: "unix", Address: path}, nil
	}
	t := Target{Network: "tcp", Address: s}
	if rest, ok := strings.CutPrefix(s, "tcp://"); ok {
		t.Address = rest
	} else if strings.HasPrefix(s, "dns:") {
		u, err := url.Parse(s)
		if err != nil || u.Host != "" || u.Path == "" && u.Opaque == "" {
			return bad("after dns: comes /// and host:port")
		}
		t.Address, t.DNS = strings.TrimPrefix(u.Path+u.Opaque, "/"), true
	} else if strings.Contains(s, "://") {
		return bad("unknown scheme")
	}
	host, port, err := net.SplitHostPort(t.Address)
	if err != nil {
		return bad(err.Error())
	}
	if port == "" || t.DNS && host == "" {
		return bad("host or port is missing")
	}
	return t, nil
}
