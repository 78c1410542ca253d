package config

import (
	"crypto/tls"
	"slices"
	"strconv"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

const (
	maxWeight   = 10_000
	maxAttempts = 10
)

func (v *validator) upstream(u *Upstream) {
	if len(u.Targets) == 0 {
		v.errorf("$.upstream", "an upstream url is required")
	}
	for i, t := range u.Targets {
		at := document.Index("$.upstream.targets", i)
		if why := targetURL(t.URL); why != "" {
			v.errorf(at+".url", "%s", why)
		}
		if t.Weight < 1 || t.Weight > maxWeight {
			v.errorf(at+".weight", "must be between 1 and %d", maxWeight)
		}
		switch secure := strings.HasPrefix(t.URL, "https:"); {
		case u.Protocol == ProtocolH2C && secure:
			v.errorf(at+".url", "protocol h2c is HTTP/2 in the clear and needs an http:// target")
		case u.Protocol == ProtocolHTTP2 && !secure:
			v.errorf(at+".url", "protocol http2 needs an https:// target (h2c is HTTP/2 in the clear)")
		}
	}
	v.clientTLS("$.upstream.tls", &u.TLS)
	if u.Retry.Attempts < 1 || u.Retry.Attempts > maxAttempts {
		v.errorf("$.upstream.retry.attempts", "must be between 1 and %d", maxAttempts)
	}
	if u.Ejection.Failures < 0 {
		v.errorf("$.upstream.ejection.failures", "must not be negative")
	}
	if u.Ejection.Failures > 0 && u.Ejection.For <= 0 {
		v.errorf("$.upstream.ejection.for", "must be greater than 0")
	}
	if u.MaxIdlePerTarget < 0 {
		v.errorf("$.upstream.max_idle_per_target", "must not be negative")
	}
	v.health(&u.Health)
}

func (v *validator) health(h *Health) {
	if h.Interval == 0 {
		if h.Path != "" || h.Body != "" || len(h.Headers)+len(h.Status) > 0 {
			v.errorf("$.upstream.health.interval", "required: without it no health check runs")
		}
		return
	}
	if !isToken(h.Method) {
		v.errorf("$.upstream.health.method", "%q is not a method", h.Method)
	}
	if !strings.HasPrefix(h.Path, "/") || hasControl(h.Path) || strings.Contains(h.Path, " ") {
		v.errorf("$.upstream.health.path", `%q must begin with "/" and have no spaces`, h.Path)
	}
	if h.Timeout <= 0 || h.Timeout > h.Interval {
		v.errorf("$.upstream.health.timeout", "must be greater than 0 and not longer than the interval")
	}
	if h.Healthy < 1 {
		v.errorf("$.upstream.health.healthy", "must be at least 1")
	}
	if h.Unhealthy < 1 {
		v.errorf("$.upstream.health.unhealthy", "must be at least 1")
	}
	for i, s := range h.Status {
		if s < 100 || s > 599 {
			v.errorf(document.Index("$.upstream.health.status", i), "must be between 100 and 599")
		}
	}
	v.headers("$.upstream.health.headers", h.Headers)
}

func (v *validator) clientTLS(path string, t *ClientTLS) {
	v.pair(path, t.CertFile, t.KeyFile)
	if t.InsecureSkipVerify {
		v.warnf(path+".insecure_skip_verify", "certificates of the upstream are not verified: anyone between can read and change the traffic")
	}
	if t.MaxVersion != 0 && t.MinVersion > t.MaxVersion {
		v.errorf(path+".max_version", "must not be lower than min_version")
	}
	for i, name := range t.CipherSuites {
		known := slices.ContainsFunc(tls.CipherSuites(), func(c *tls.CipherSuite) bool { return c.Name == name })
		if !known {
			v.errorf(document.Index(path+".cipher_suites", i), "%q is not a cipher suite that is considered secure", name)
		}
	}
}

func (v *validator) pair(path, cert, key string) {
	switch {
	case cert != "" && key == "":
		v.errorf(path+".key", "required with cert")
	case cert == "" && key != "":
		v.errorf(path+".cert", "required with key")
	}
}

func portOK(port string) bool {
	if port == "" {
		return true
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}
