package bots

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// What happens to a request.
const (
	actionAllow = "allow"
	actionTag   = "tag"
	actionDeny  = "deny"
)

// settings are the plugin's configuration; README.md says what each means.
type settings struct {
	Action  string   `json:"action"` // default tag
	Empty   string   `json:"empty"`  // default tag
	Monitor bool     `json:"monitor"`
	Allow   selector `json:"allow"`
	Deny    selector `json:"deny"`
	Header  string   `json:"header"`
	Status  int      `json:"status"`  // default 403
	Message string   `json:"message"` // default Forbidden
	Verify  verify   `json:"verify"`
}

// selector picks requests.
type selector struct {
	Categories []string `json:"categories"`  // of the public list
	UserAgents []string `json:"user_agents"` // regular expressions
	Addresses  []string `json:"addresses"`   // of clients, or prefixes
}

// verify says whether crawlers must come from where their owners say.
type verify struct {
	Enabled   bool                `json:"enabled"`
	Impostors string              `json:"impostors"` // default deny
	Wait      ship.Duration       `json:"wait"`      // default: not at all
	Timeout   ship.Duration       `json:"timeout"`   // default 2s
	Keep      ship.Duration       `json:"keep"`      // default 24h
	Retry     ship.Duration       `json:"retry"`     // default 1m
	Size      int                 `json:"size"`      // default 10000
	Lookups   int                 `json:"lookups"`   // default 16
	Resolver  string              `json:"resolver"`  // default: the system's
	Domains   map[string][]string `json:"domains"`
}

func parseSettings(config json.RawMessage) (*settings, error) {
	s := &settings{}
	if err := ship.Decode(config, s); err != nil {
		return nil, err
	}
	ship.Default(&s.Action, actionTag)
	ship.Default(&s.Empty, actionTag)
	ship.Default(&s.Status, 403)
	ship.Default(&s.Message, "Forbidden")
	v := &s.Verify
	ship.Default(&v.Impostors, actionDeny)
	ship.Default(&v.Timeout, ship.Duration(2*time.Second))
	ship.Default(&v.Keep, ship.Duration(24*time.Hour))
	ship.Default(&v.Retry, ship.Duration(time.Minute))
	ship.Default(&v.Size, 10_000)
	ship.Default(&v.Lookups, 16)
	return s, s.check()
}

func (s *settings) check() error {
	for _, one := range []struct {
		key, value string
		allowed    []string
	}{
		{"action", s.Action, []string{actionTag, actionDeny}},
		{"empty", s.Empty, []string{actionAllow, actionTag, actionDeny}},
		{"verify.impostors", s.Verify.Impostors, []string{actionTag, actionDeny}},
	} {
		if !slices.Contains(one.allowed, one.value) {
			return fmt.Errorf("%s: %q: one of %s", one.key, one.value, strings.Join(one.allowed, ", "))
		}
	}
	switch {
	case s.Header != "" && !sdk.ValidToken(s.Header):
		return fmt.Errorf("header: %q is no name of a header", s.Header)
	case s.Status < 400 || s.Status > 599:
		return fmt.Errorf("status: %d is no status of an error", s.Status)
	case s.Verify.Size < 1 || s.Verify.Lookups < 1:
		return errors.New("verify: size and lookups are at least 1")
	}
	if s.Verify.Resolver != "" {
		if _, err := netip.ParseAddrPort(s.Verify.Resolver); err != nil {
			return fmt.Errorf("verify.resolver: %q is no address with a port, such as 192.0.2.53:53", s.Verify.Resolver)
		}
	}
	for name, domains := range s.Verify.Domains {
		for _, d := range domains {
			if d == "" || strings.Trim(d, ".") != d || strings.ToLower(d) != d {
				return fmt.Errorf("verify.domains: %s: %q is no domain such as crawl.example.com", name, d)
			}
		}
	}
	return nil
}

// nets is a set of addresses, asked once for each length of prefix that it has.
type nets struct {
	prefixes map[netip.Prefix]struct{}
	bits     [2][]int // lengths of prefixes: of IPv4, of IPv6
}

func parseNets(texts []string) (*nets, error) {
	n := &nets{prefixes: make(map[netip.Prefix]struct{}, len(texts))}
	for _, text := range texts {
		p, err := ship.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		n.prefixes[p] = struct{}{}
		if bits := &n.bits[family(p.Addr())]; !slices.Contains(*bits, p.Bits()) {
			*bits = append(*bits, p.Bits())
		}
	}
	return n, nil
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// has reports whether an address that is not mapped is in the set.
func (n *nets) has(a netip.Addr) bool {
	for _, bits := range n.bits[family(a)] {
		if p, err := a.Prefix(bits); err == nil {
			if _, ok := n.prefixes[p]; ok {
				return true
			}
		}
	}
	return false
}
