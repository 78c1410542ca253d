package tyk

import (
	"crypto/tls"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// listenPath puts the slash before a listen path that Tyk does not ask for.
func listenPath(path string) string {
	if path == "" || strings.HasPrefix(path, "/") {
		return path
	}
	return "/" + path
}

func (t *translation) proxy() {
	l, u := &t.def.Listen, &t.def.Upstream
	p := t.get("proxy")
	t.from("$.listen", p)
	t.from("$.upstream", p)
	path := t.from("$.listen.path", get(p, "listen_path"))
	l.Path = listenPath(t.text(path))
	if !t.truth(t.get("domain_disabled")) {
		l.Host = t.text(t.from("$.listen.host", t.get("domain")))
	}
	l.Strip = t.truth(get(p, "strip_listen_path"))
	l.KeepSlash = t.truth(get(p, "disable_strip_slash"))
	if t.truth(get(p, "preserve_host_header")) {
		u.Host = config.HostKeep
	}
	t.targets(p)
	t.transport(get(p, "transport"))
}

// targets takes target_url, or the target list when load balancing is on.
func (t *translation) targets(p *document.Node) {
	u := &t.def.Upstream
	urls := []*document.Node{get(p, "target_url")}
	if t.truth(get(p, "enable_load_balancing")) {
		list := get(p, "target_list")
		if list == nil || len(list.Items) == 0 {
			t.errorf(t.at(get(p, "enable_load_balancing")), "load balancing needs a target_list")
			return
		}
		urls = list.Items
	}
	for _, n := range urls {
		if n == nil {
			t.errorf(t.at(p), "target_url is required")
			return
		}
		url := t.url(n, &u.Protocol)
		i := slices.IndexFunc(u.Targets, func(target config.Target) bool { return target.URL == url })
		if i >= 0 {
			u.Targets[i].Weight++
			continue
		}
		t.from(document.Index("$.upstream.targets", len(u.Targets)), n)
		u.Targets = append(u.Targets, config.Target{URL: url, Weight: 1})
	}
}

// url reads a target. Tyk's schemes beside http and https say how http is spoken.
func (t *translation) url(n *document.Node, protocol *config.UpstreamProtocol) string {
	text := t.text(n)
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return "http://" + text
	}
	switch strings.ToLower(scheme) {
	case "h2c":
		*protocol = config.ProtocolH2C
		return "http://" + rest
	case "ws":
		return "http://" + rest
	case "wss":
		return "https://" + rest
	case "tyk":
		t.errorf(n, "loops to other APIs (tyk://) are not supported")
	case "tcp", "tls":
		t.errorf(n, "%s:// targets are not supported: the gateway speaks HTTP", scheme)
	}
	return text
}

func (t *translation) transport(n *document.Node) {
	c := &t.def.Upstream.TLS
	c.InsecureSkipVerify = t.truth(t.from("$.upstream.tls.insecure_skip_verify", get(n, "ssl_insecure_skip_verify")))
	c.CipherSuites = t.list(t.from("$.upstream.tls.cipher_suites", get(n, "ssl_ciphers")))
	c.MinVersion = t.tlsVersion(t.from("$.upstream.tls.min_version", get(n, "ssl_min_version")), false)
	c.MaxVersion = t.tlsVersion(t.from("$.upstream.tls.max_version", get(n, "ssl_max_version")), true)
}

func (t *translation) tlsVersion(n *document.Node, isMax bool) config.TLSVersion {
	switch v := t.number(n); v {
	case 0:
		return 0
	case tls.VersionTLS12, tls.VersionTLS13:
		return config.TLSVersion(v)
	case tls.VersionTLS10, tls.VersionTLS11:
		if isMax {
			t.errorf(n, "TLS below 1.2 is not supported")
			return 0
		}
		t.warnf(n, "TLS below 1.2 is not spoken: 1.2 is the lowest")
		return tls.VersionTLS12
	default:
		t.errorf(n, "%d is not a TLS version: 771 is 1.2 and 772 is 1.3", v)
		return 0
	}
}

// uptimeInterval is how often targets are asked: Tyk sets it for the whole gateway.
const uptimeInterval = 10 * time.Second

// uptime makes one health check of uptime tests that decide about targets.
func (t *translation) uptime() {
	tests := t.get("uptime_tests", "check_list")
	deciding := t.get("proxy", "check_host_against_uptime_tests")
	if t.truth(t.get("uptime_tests", "disabled")) || tests == nil || len(tests.Items) == 0 {
		return
	}
	if !t.truth(deciding) {
		t.report(tests, document.Ignored, "", "uptime tests have an effect with proxy.check_host_against_uptime_tests alone")
		return
	}
	t.from("$.upstream.health", tests)
	var first config.Health
	hosts := map[string]bool{}
	for i, test := range tests.Items {
		check, host := t.check(test)
		hosts[host] = true
		if i == 0 {
			first = check
			continue
		}
		if !sameCheck(first, check) {
			t.errorf(test, "uptime tests that differ by target are not supported: method, path, headers and body must be those of the first")
		}
	}
	for _, target := range t.def.Upstream.Targets {
		if !hosts[hostOf(target.URL)] {
			t.errorf(tests, "no uptime test asks %s: with a test for some targets alone the others would never count as down", target.URL)
		}
	}
	t.def.Upstream.Health = first
}

func (t *translation) check(test *document.Node) (h config.Health, host string) {
	h = t.def.Upstream.Health
	h.Interval, h.Healthy, h.Unhealthy = uptimeInterval, 1, 3
	if p := strings.ToLower(t.text(get(test, "protocol"))); p != "" && p != "http" && p != "https" {
		t.errorf(test, "uptime tests over %s are not supported", p)
	}
	for _, key := range []string{"commands", "enable_proxy_protocol"} {
		if n := get(test, key); n != nil && asks(n) {
			t.errorf(n, "not supported in uptime tests that decide about targets")
		}
	}
	url := t.text(get(test, "url"))
	if !strings.Contains(url, "://") {
		url = "http://" + url
	}
	host = hostOf(url)
	_, path, found := strings.Cut(strings.SplitN(url, "://", 2)[1], "/")
	h.Path = "/"
	if found {
		h.Path += path
	}
	if method := t.text(get(test, "method")); method != "" {
		h.Method = strings.ToUpper(method)
	}
	h.Body = t.text(get(test, "body"))
	if n := get(test, "headers"); n != nil {
		t.decoder.Decode(n, &h.Headers)
	}
	if timeout := time.Duration(t.number(get(test, "timeout"))); timeout > 0 {
		h.Timeout = min(timeout, h.Interval)
	}
	return h, host
}

func sameCheck(a, b config.Health) bool {
	return a.Method == b.Method && a.Path == b.Path && a.Body == b.Body && slices.Equal(a.Headers, b.Headers)
}

func hostOf(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	return strings.ToLower(host)
}
