// Package bots is the plugin that tells crawlers from other clients, by a public list of their user agents and by where
// they come from, and denies them or tags them. README.md beside it is its manual.
package bots

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

//go:embed plugin.yaml
var manifest string

// Manifest returns plugin.yaml, which describes the plugin.
func Manifest() string { return manifest }

// Check reports what is wrong with a configuration.
func Check(config json.RawMessage) error {
	_, err := compile(config)
	return err
}

var _ sdk.Factory = New

// New makes the plugin. Its hook Detect runs in the phase pre.
func New(ctx context.Context, config json.RawMessage, _ sdk.Host) (*sdk.Plugin, error) {
	d, err := compile(config)
	if err != nil {
		return nil, err
	}
	p := &sdk.Plugin{
		Name: "bots", Version: "1.0.0",
		Hooks: []sdk.HookSpec{{
			Name: "Detect", Phase: sdk.Pre, Hook: d,
			Needs: sdk.Needs{Fields: sdk.NeedHeaders | sdk.NeedValues, HeaderNames: d.reads()},
		}},
	}
	if d.s.Verify.Enabled {
		if d.verifier, err = newVerifier(ctx, d.s.Verify, newResolver(d.s.Verify.Resolver)); err != nil {
			return nil, fmt.Errorf("bots: %w", err)
		}
		p.Close = d.verifier.close
	}
	return p, nil
}

const userAgent = "User-Agent"

// Tags of an exchange, and the name of the value that says more. Categories have tags of their own, such as
// bot:search-engine.
const (
	tagBot        = "bot"
	tagVerified   = "bot:verified"
	tagUnverified = "bot:unverified" // not known yet, or the lookup failed
	tagImpostor   = "bot:impostor"
	tagNameless   = "bot:nameless" // no user agent
	tagWouldDeny  = "bot:would-deny"

	valueBot = "bot"
)

// reads lists the headers that the hook looks at.
func (d *detector) reads() []string {
	if d.s.Header == "" {
		return []string{userAgent}
	}
	return []string{userAgent, d.s.Header}
}

// detector is the hook. It is immutable.
type detector struct {
	s        *settings
	public   *matcher
	entries  []crawler
	domains  [][]string // of the entries, where crawlers are verified
	verifier *verifier  // nil: they are not
	allow    rules
	deny     rules
}

// rules is a selector compiled.
type rules struct {
	categories []string
	agents     *matcher
	addresses  *nets
}

func compile(config json.RawMessage) (*detector, error) {
	s, err := parseSettings(config)
	if err != nil {
		return nil, fmt.Errorf("bots: %w", err)
	}
	d := &detector{s: s}
	entries, expressions, err := crawlers()
	if err != nil {
		return nil, fmt.Errorf("bots: %w", err)
	}
	if d.public, err = newMatcher(expressions); err != nil {
		return nil, fmt.Errorf("bots: the public list: %w", err)
	}
	d.entries = entries
	if d.domains, err = domainsOf(entries, s.Verify.Domains); err != nil {
		return nil, fmt.Errorf("bots: %w", err)
	}
	if d.allow, err = s.Allow.compile(entries); err != nil {
		return nil, fmt.Errorf("bots: allow.%w", err)
	}
	if d.deny, err = s.Deny.compile(entries); err != nil {
		return nil, fmt.Errorf("bots: deny.%w", err)
	}
	return d, nil
}

func (s selector) compile(entries []crawler) (r rules, err error) {
	var known []string
	for _, e := range entries {
		known = append(known, e.categories...)
	}
	slices.Sort(known)
	known = slices.Compact(known)
	for _, c := range s.Categories {
		if !slices.Contains(known, c) {
			return r, fmt.Errorf("categories: %q is not among %s", c, strings.Join(known, ", "))
		}
	}
	r.categories = s.Categories
	if r.agents, err = newMatcher(s.UserAgents); err != nil {
		return r, fmt.Errorf("user_agents: %w", err)
	}
	if r.addresses, err = parseNets(s.Addresses); err != nil {
		return r, fmt.Errorf("addresses: %w", err)
	}
	return r, nil
}

// picks reports whether a request is picked by who sends it, whatever the public list says.
func (r *rules) picks(agent string, client netip.Addr) bool {
	var ids [8]uint16
	return r.addresses.has(client) || len(r.agents.match(agent, ids[:0])) > 0
}

// finding is what is said of a request, and the value that later hooks read.
type finding struct {
	Crawler    string   `json:"crawler,omitempty"` // its name
	Categories []string `json:"categories,omitempty"`
	Verified   string   `json:"verified,omitempty"` // yes, no or unknown; "" where that is not asked
	Action     string   `json:"action"`             // allow, tag or deny
	Monitor    bool     `json:"monitor,omitempty"`  // deny was not done

	tags []string
}

// Handle implements sdk.Hook.
func (d *detector) Handle(ctx context.Context, x *sdk.Exchange) error {
	header := x.Request().Header()
	if d.s.Header != "" && header.Has(d.s.Header) {
		header.Del(d.s.Header) // ours alone to say
	}
	agent := agentOf(header)
	var memory [16]uint16
	f := finding{Action: actionAllow}
	ids := d.public.match(agent, memory[:0])
	client := x.ClientAddr().Addr().Unmap()
	if len(ids) > 0 {
		d.describe(&f, ids)
	} else if strings.TrimSpace(agent) == "" {
		f.Action, f.tags = d.s.Empty, []string{tagNameless}
	}
	d.decide(ctx, &f, agent, client, ids)
	return d.act(x, &f)
}

// agentOf is the user agent, of all lines: a second one hides nothing.
func agentOf(header *sdk.Header) string {
	agent, ok := header.Lookup(userAgent)
	if !ok {
		return ""
	}
	n := 0
	for name := range header.All() {
		if sdk.EqualFold(name, userAgent) {
			n++
		}
	}
	if n == 1 {
		return agent
	}
	return strings.Join(header.Values(userAgent), " ") // in one go: a client may send very many
}

// describe says which crawler it is: by the longest name of those that match, which says most.
func (d *detector) describe(f *finding, ids []uint16) {
	f.tags = append(f.tags, tagBot)
	for _, id := range ids {
		e := &d.entries[id]
		if len(e.name) > len(f.Crawler) {
			f.Crawler = e.name
		}
		for i, c := range e.categories {
			if !slices.Contains(f.Categories, c) {
				f.Categories, f.tags = append(f.Categories, c), append(f.tags, e.tags[i])
			}
		}
	}
	f.Action = d.s.Action
}

// decide chooses the action: what is said of addresses and user agents goes before what verification finds, that before
// categories, and allow before deny.
func (d *detector) decide(ctx context.Context, f *finding, agent string, client netip.Addr, ids []uint16) {
	if d.allow.picks(agent, client) {
		f.Action = actionAllow
		return
	}
	if d.deny.picks(agent, client) {
		f.Action = actionDeny
		return
	}
	if d.verify(ctx, f, client, ids); f.Verified == "no" {
		f.Action = d.s.Verify.Impostors
		return
	}
	in := func(categories []string) bool {
		return slices.ContainsFunc(categories, func(c string) bool { return slices.Contains(f.Categories, c) })
	}
	switch {
	case in(d.allow.categories):
		f.Action = actionAllow
	case in(d.deny.categories):
		f.Action = actionDeny
	}
}

// verify finds out whether a crawler comes from where its owner says.
func (d *detector) verify(ctx context.Context, f *finding, client netip.Addr, ids []uint16) {
	if d.verifier == nil {
		return
	}
	i := slices.IndexFunc(ids, func(id uint16) bool { return len(d.domains[id]) > 0 })
	if i < 0 {
		return
	}
	names, known := d.verifier.names(ctx, client)
	verified := slices.ContainsFunc(ids, func(id uint16) bool { return within(names, d.domains[id]) })
	switch {
	case !known:
		f.Verified, f.tags = "unknown", append(f.tags, tagUnverified)
	case verified:
		f.Verified, f.tags = "yes", append(f.tags, tagVerified)
	default:
		f.Verified, f.tags = "no", append(f.tags, tagImpostor)
	}
}

// act does what was decided.
func (d *detector) act(x *sdk.Exchange, f *finding) error {
	if f.Crawler == "" && len(f.tags) == 0 && f.Action == actionAllow {
		return nil
	}
	denied := f.Action == actionDeny
	if denied && d.s.Monitor {
		f.Monitor, f.tags = true, append(f.tags, tagWouldDeny)
	}
	switch {
	case f.Monitor:
		x.Count("would_deny", 1)
	case denied:
		x.Count("denied", 1)
	case f.Action == actionTag:
		x.Count("tagged", 1)
	default:
		x.Count("allowed", 1)
	}
	if f.Verified == "no" {
		x.Count("impostors", 1)
	}
	x.Tag(f.tags...)
	value, err := json.Marshal(*f) // a copy, so that requests of browsers allocate nothing
	if err != nil {
		return fmt.Errorf("bots: %w", err)
	}
	x.SetValue(valueBot, value)
	if denied && !d.s.Monitor {
		return &sdk.Error{Status: d.s.Status, Message: d.s.Message}
	}
	if d.s.Header != "" && len(f.tags) > 0 {
		x.Request().Header().Set(d.s.Header, strings.Join(f.tags, ","))
	}
	return nil
}
