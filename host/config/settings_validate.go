package config

import (
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// DefaultServer is the plugin server of hooks that name none.
const DefaultServer = "default"

// Validate returns what is wrong with settings, apart from the files they name.
func (s *Settings) Validate() Problems {
	var v validator
	v.address("$.listen.address", s.Listen.Address)
	v.serverTLS("$.listen.tls", &s.Listen.TLS)
	if s.Listen.XFFDepth < 0 {
		v.errorf("$.listen.xff_depth", "must not be negative")
	}
	if s.Listen.XFFDepth > 0 && len(s.Listen.TrustedProxies) == 0 {
		v.warnf("$.listen.xff_depth", "has no effect without trusted_proxies")
	}
	if s.Listen.ProxyProtocol && len(s.Listen.TrustedProxies) == 0 {
		v.errorf("$.listen.proxy_protocol", "needs trusted_proxies: PROXY headers of strangers are not believed")
	}
	v.admin(&s.Admin)
	for _, name := range sortedKeys(s.Servers) {
		path, server := document.Join("$.servers", name), s.Servers[name]
		if !serverName.MatchString(name) {
			v.errorf(path, "%q is not a server name: lower-case letters, digits and - between them", name)
		}
		v.pluginServer(path, &server)
	}
	v.store(s)
	v.keys(&s.Keys)
	v.policy("$.hooks", &s.Hooks)
	if s.Hooks.OnError == OnErrorSkip {
		v.errorf("$.hooks.on_error", "skip cannot be the default, for auth hooks would let everyone in: say it at each hook")
	}
	for i, library := range s.Scripts.Allow {
		if !slices.Contains(LuaLibraries(), library) {
			v.errorf(document.Index("$.scripts.allow", i), "%q is no library that can be allowed: %s", library, orList(LuaLibraries()))
		}
	}
	if s.Python.Dir == "" {
		v.errorf("$.python.dir", "must not be empty")
	}
	v.bundleSettings(&s.Bundles)
	v.tracing(&s.Tracing)
	v.logTargets(s.Log.Targets)
	for i, field := range s.AccessLog.Fields {
		if !isToken(field) {
			v.errorf(document.Index("$.access_log.fields", i), "%q is not the name of a field", field)
		}
	}
	if s.Routing.Match == MatchDefault {
		v.errorf("$.routing.match", "must be segments or prefix")
	}
	v.errors("$.errors", &s.Errors)
	for i, dir := range s.SecretDirs {
		if !filepath.IsAbs(dir) {
			v.errorf(document.Index("$.secret_dirs", i), "%q must be an absolute path", dir)
		}
	}
	for _, dir := range []struct{ path, value string }{{"$.apis", s.APIs}, {"$.plugins", s.Plugins}} {
		if dir.value == "" {
			v.errorf(dir.path, "must not be empty")
		}
	}
	return v.problems
}

func (v *validator) admin(a *AdminSettings) {
	const shortSecret = 8
	v.serverTLS("$.admin.tls", &a.TLS)
	if a.Listen == "" {
		return
	}
	v.address("$.admin.listen", a.Listen)
	v.adminTokens(a)
	switch {
	case a.Secret == "" && a.SecretFile == "":
		v.errorf("$.admin.secret", "the control listener needs a secret or a secret_file")
	case hasControl(a.Secret):
		v.errorf("$.admin.secret", "must not have control characters")
	case a.Secret != "" && len(a.Secret) < shortSecret:
		v.warnf("$.admin.secret", "shorter than %d bytes: easy to guess", shortSecret)
	}
}

func (v *validator) address(path, address string) {
	_, port, err := net.SplitHostPort(address)
	if err != nil || port != "0" && !portOK(port) || port == "" {
		v.errorf(path, "%q is not an address: write host:port or :port", address)
	}
}

func (v *validator) serverTLS(path string, t *ServerTLS) {
	if len(t.CertFiles) == 0 && (t.ClientCAFile != "" || t.ClientRequired) {
		v.errorf(path, "client certificates need TLS: name cert and key")
	}
	if len(t.CertFiles) != len(t.KeyFiles) {
		v.errorf(path, "cert and key must name as many files: there are %d and %d", len(t.CertFiles), len(t.KeyFiles))
	}
}

// pluginServer checks the server of a name, or of a plugin.
func (v *validator) pluginServer(path string, s *PluginServer) {
	switch started := len(s.Start.Command) > 0; {
	case s.Address == "" && !started:
		v.errorf(path+".address", "an address or a command is required")
	case s.Address != "" && started:
		v.errorf(path+".command", "a server is at an address, or the gateway starts it: say address or command")
	case !started && !pluginAddress(s.Address):
		v.errorf(path+".address", "%q is not an address: write unix:PATH, tcp://host:port, host:port or dns:///host:port", s.Address)
	}
	v.pluginStart(path, s)
	v.pair(path+".tls", s.TLS.CertFile, s.TLS.KeyFile)
	if hasControl(s.Authority) || strings.Contains(s.Authority, " ") {
		v.errorf(path+".authority", "must not have spaces or control characters")
	}
	if hasControl(s.Health) {
		v.errorf(path+".health", "must not have control characters")
	}
	const maxStreams = 256
	if s.Streams > maxStreams {
		v.errorf(path+".streams", "must not be more than %d", maxStreams)
	}
	if s.Window > maxStreams {
		v.errorf(path+".window", "must not be more than %d", maxStreams)
	}
}

func pluginAddress(address string) bool {
	if hasControl(address) || strings.Contains(address, " ") {
		return false
	}
	if socket, ok := unixSocket(address); ok {
		return socket != ""
	}
	rest := strings.TrimPrefix(strings.TrimPrefix(address, "tcp://"), "dns:///")
	host, port, err := net.SplitHostPort(rest)
	return err == nil && port != "" && portOK(port) && !strings.ContainsAny(host, "/@?#")
}

func (v *validator) tracing(t *Tracing) {
	if t.SampleRatio < 0 || t.SampleRatio > 1 {
		v.errorf("$.tracing.sample_ratio", "must be between 0 and 1")
	}
	for _, name := range sortedKeys(t.Headers) {
		if !isToken(name) || strings.ContainsAny(t.Headers[name], "\r\n\x00") {
			v.errorf(document.Join("$.tracing.headers", name), "not a header name with a value of one line")
		}
	}
	if t.Endpoint == "" {
		return
	}
	if t.Protocol == OTLPHTTP {
		if u, err := url.Parse(t.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			v.errorf("$.tracing.endpoint", "%q must be an http:// or https:// URL", t.Endpoint)
		}
		return
	}
	if !pluginAddress(t.Endpoint) || strings.Contains(t.Endpoint, "://") {
		v.errorf("$.tracing.endpoint", "%q must be host:port", t.Endpoint)
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
