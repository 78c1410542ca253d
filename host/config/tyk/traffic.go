package tyk

import (
	"net/netip"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// traffic reads CORS, IP lists and rates.
func (t *translation) traffic() {
	t.cors(t.get("CORS"))
	t.def.IP.Allow = t.addresses("enable_ip_whitelisting", "allowed_ips", true)
	t.def.IP.Block = t.addresses("enable_ip_blacklisting", "blacklisted_ips", false)

	t.limits()
}

// limits reads the rate of the whole API, and whether those of keys hold.
func (t *translation) limits() {
	l, global := &t.def.Limits, t.get("global_rate_limit")
	l.IgnoreKeyRate, l.IgnoreKeyQuota = t.truth(t.get("disable_rate_limit")), t.truth(t.get("disable_quota"))
	if !t.truth(get(global, "disabled")) && !l.IgnoreKeyRate {
		l.Rate = t.rate(t.from("$.limits.rate", global))
	}
}

// rate reads a rate, none when one of its numbers is not above 0.
func (t *translation) rate(n *document.Node) config.Rate {
	var requests float64
	if r := get(n, "rate"); r != nil {
		t.decoder.Decode(r, &requests)
	}
	per := t.seconds(get(n, "per"))
	if requests <= 0 || per <= 0 {
		return config.Rate{}
	}
	return config.Rate{Requests: requests, Per: per}
}

func (t *translation) cors(n *document.Node) {
	c := &t.def.CORS
	c.Enabled = t.truth(get(n, "enable"))
	if !c.Enabled {
		return
	}
	c.Origins = t.list(t.from("$.cors.origins", get(n, "allowed_origins")))
	c.Methods = t.list(t.from("$.cors.methods", get(n, "allowed_methods")))
	c.Headers = t.list(t.from("$.cors.headers", get(n, "allowed_headers")))
	if c.Enabled && len(c.Headers) == 0 {
		// What the CORS library of Tyk allows when nothing is said.
		c.Headers = []string{"Origin", "Accept", "Content-Type", "X-Requested-With"}
	}
	c.Exposed = t.list(t.from("$.cors.exposed", get(n, "exposed_headers")))
	c.Credentials = t.truth(t.from("$.cors.credentials", get(n, "allow_credentials")))
	c.Passthrough = t.truth(get(n, "options_passthrough"))
	age := get(n, "max_age")
	const longest = 365 * 24 * 60 * 60
	if seconds := t.number(age); seconds >= 0 {
		c.MaxAge = time.Duration(min(seconds, longest)) * time.Second
	} else {
		t.errorf(age, "must not be negative")
	}
}

// addresses reads one of the IP lists when it is on. An allow list that is on and empty asks for
// protection without saying which, so it is refused.
func (t *translation) addresses(on, list string, allow bool) []netip.Prefix {
	enabled, n := t.get(on), t.get(list)
	if !t.truth(enabled) {
		if n != nil && asks(n) {
			t.report(n, document.Ignored, "", "has no effect while %s is false", on)
		}
		return nil
	}
	if allow && (n == nil || len(n.Items) == 0) {
		t.errorf(enabled, "%s is on and %s is empty: name the addresses, or turn it off", on, list)
		return nil
	}
	var out []netip.Prefix
	if n != nil {
		t.decoder.Decode(n, &out)
	}
	return out
}
