package tykconf

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// translate makes our settings of what was said, and of what Tyk does when nothing is.
func (l *loader) translate() {
	l.listeners()
	l.folders()
	l.storage()
	l.keys()
	l.limits()
	l.plugins()
	l.scripts()
	l.bundles()
	if l.truth("hide_generator_header") {
		l.set("hide_generator", "true")
	}
	if level, ok := l.text("log_level"); ok {
		l.set("log.level", strings.ToLower(level))
	}
	match := "prefix" // Tyk's default
	if l.truth("http_server_options.enable_strict_routes") {
		match = "segments"
	}
	l.set("routing.match", match)
}

func (l *loader) listeners() {
	address, _ := l.text("listen_address")
	port := l.number("listen_port")
	if port == 0 {
		port = 8080
	}
	l.set("listen.address", net.JoinHostPort(address, strconv.FormatInt(port, 10)))
	if depth := l.number("http_server_options.xff_depth"); depth > 0 {
		l.set("listen.xff_depth", strconv.FormatInt(depth, 10))
	}
	if l.truth("http_server_options.use_ssl") {
		l.certificates()
	}
	secret, ok := l.text("secret")
	if !ok {
		return
	}
	l.set("admin.secret", secret)
	control := l.number("control_api_port")
	if control == 0 {
		l.report(l.said["secret"], config.SeverityWarning,
			"the control API has a listener of its own, and control_api_port names none: give --admin-listen to open it")
		return
	}
	host, _ := l.text("control_api_hostname")
	l.set("admin.listen", net.JoinHostPort(host, strconv.FormatInt(control, 10)))
}

func (l *loader) certificates() {
	s := l.said["http_server_options.certificates"]
	var certs, keys []string
	if s.node != nil {
		for _, item := range s.node.Items {
			certs, keys = append(certs, textOf(item, "cert_file")), append(keys, textOf(item, "key_file"))
		}
	}
	if len(certs) == 0 {
		l.report(l.said["http_server_options.use_ssl"], config.SeverityError, "use_ssl is on, and certificates names no cert_file and key_file")
		return
	}
	l.set("listen.tls.cert", strings.Join(certs, ","))
	l.set("listen.tls.key", strings.Join(keys, ","))
	const tls13 = 772
	if l.number("http_server_options.min_version") >= tls13 {
		l.set("listen.tls.min_version", "1.3")
	}
}

func textOf(n *document.Node, key string) string {
	if v := n.Get(key); v != nil {
		return v.Text
	}
	return ""
}

func (l *loader) folders() {
	apps, ok := l.text("app_path")
	if !ok {
		apps = "apps"
	}
	l.set("apis", apps)
	templates, _ := l.text("template_path")
	l.set("errors.dir", templates)
	source, ok := l.text("policies.policy_source")
	if ok && source != "file" {
		l.report(l.said["policies.policy_source"], config.SeverityError, "policies come from files and the control API, not from %q", source)
	}
	if path, ok := l.text("policies.policy_path"); ok {
		l.set("policies", path)
	} else if record, ok := l.text("policies.policy_record_name"); ok {
		l.set("policies", record)
	}
}

// scripts are in Tyk's JavaScript, Lua and Python.
func (l *loader) scripts() {
	if s, ok := l.said["enable_jsvm"]; ok && !l.truth("enable_jsvm") {
		l.report(s, config.SeverityWarning, "scripts run all the same where a definition names them")
	}
	folder, _ := l.text("middleware_path")
	l.set("scripts.middleware", folder)
	if version, ok := l.text("coprocess_options.python_version"); ok && version != "" {
		l.set("python.interpreter", "python"+version)
	}
	if prelude, ok := l.text("tyk_js_path"); ok {
		if _, err := os.Stat(prelude); errors.Is(err, fs.ErrNotExist) { // most name a file that their package brought
			l.report(l.said["tyk_js_path"], config.SeverityWarning, "there is no file %s: nothing runs before scripts", prelude)
		} else {
			l.set("scripts.prelude", prelude)
		}
	}
	if seconds := l.number("jsvm_timeout"); seconds > 0 {
		l.set("scripts.timeout", strconv.FormatInt(seconds, 10)+"s")
	}
	if l.truth("disable_virtual_path_blobs") {
		l.set("scripts.virtual_text", "false")
	}
}

func (l *loader) storage() {
	kind, ok := l.text("storage.type")
	if !ok {
		return // Tyk needs one; here the embedded store does
	}
	if kind != "redis" {
		l.report(l.said["storage.type"], config.SeverityError, "%q is not supported: redis is, or no storage at all", kind)
		return
	}
	const redis = "store.redis."
	l.set("store.type", "redis")
	addresses := l.said["storage.addrs"].list
	if len(addresses) == 0 {
		addresses = l.said["storage.hosts"].list
	}
	if host, ok := l.text("storage.host"); len(addresses) == 0 && ok {
		port := l.number("storage.port")
		if port == 0 {
			port = 6379
		}
		addresses = []string{net.JoinHostPort(host, strconv.FormatInt(port, 10))}
	}
	l.set(redis+"addresses", strings.Join(addresses, ","))
	for to, from := range map[string]string{
		"username": "storage.username", "password": "storage.password", "master": "storage.master_name",
		"sentinel_password": "storage.sentinel_password", "tls.ca": "storage.ca_file", "tls.cert": "storage.cert_file", "tls.key": "storage.key_file",
	} {
		text, _ := l.text(from)
		l.set(redis+to, text)
	}
	if l.truth("storage.enable_cluster") {
		l.set(redis+"cluster", "true")
	}
	if l.truth("storage.use_ssl") {
		l.set(redis+"tls.enabled", "true")
	}
	if n := l.number("storage.database"); n > 0 {
		l.set(redis+"database", strconv.FormatInt(n, 10))
	}
	if n := l.number("storage.optimisation_max_active"); n > 0 {
		l.set(redis+"pool", strconv.FormatInt(n, 10))
	}
	// Tyk's keys stand in Redis under their own names, in a form of its own: they are not read from there.
	l.report(l.said["storage.type"], config.SeverityWarning,
		"keys are kept under store.redis.prefix, not where Tyk keeps them: bring them over through the control API")
}

func (l *loader) keys() {
	function := "none"
	if l.truth("hash_keys") {
		function = "murmur32"
		if f, ok := l.text("hash_key_function"); ok {
			function = f
		}
	}
	l.set("keys.hash", function)
	l.set("keys.hash_fallback", strings.Join(l.said["hash_key_function_fallback"].list, ","))
	l.set("keys.list_hashed", strconv.FormatBool(l.truth("enable_hashed_keys_listing")))
	if n := l.number("min_token_length"); n > 0 {
		l.set("keys.min_length", strconv.FormatInt(n, 10))
	}
	if l.truth("allow_master_keys") {
		l.set("keys.master", "true")
	}
	if n := l.number("global_session_lifetime"); n > 0 {
		l.set("keys.lifetime", strconv.FormatInt(n, 10)+"s")
		if l.truth("force_global_session_lifetime") {
			l.set("keys.force_lifetime", "true")
		}
	}
	if l.truth("session_lifetime_respects_key_expiration") {
		l.set("keys.lifetime_respects_expiry", "true")
	}
}

func (l *loader) limits() {
	if l.out["store.type"] == "redis" {
		mode := "distributed" // Tyk's default
		if l.truth("enable_redis_rolling_limiter") || l.truth("enable_sentinel_rate_limiter") {
			mode = "exact"
		}
		l.set("rate_limits.mode", mode)
	}
	switch h, _ := l.text("rate_limit_response_headers"); h {
	case "":
	case "quotas":
		l.set("rate_limits.headers", "quotas")
	case "rate_limits":
		l.set("rate_limits.headers", "rates")
	default:
		l.report(l.said["rate_limit_response_headers"], config.SeverityError, "must be quotas or rate_limits")
	}
}

func (l *loader) plugins() {
	if s, ok := l.said["coprocess_options.enable_coprocess"]; ok && !l.truth("coprocess_options.enable_coprocess") {
		l.report(s, config.SeverityWarning, "hooks are called all the same: Tyk would leave them out and let requests pass")
	}
	const server = "servers.default."
	if address, ok := l.text("coprocess_options.coprocess_grpc_server"); ok {
		l.set(server+"address", address)
		authority, _ := l.text("coprocess_options.grpc_authority")
		l.set(server+"authority", authority)
		for to, from := range map[string]string{"max_recv": "coprocess_options.grpc_recv_max_size", "max_send": "coprocess_options.grpc_send_max_size"} {
			if n := l.number(from); n > 0 {
				l.set(server+to, strconv.FormatInt(n, 10))
			}
		}
	}
}

// bundles are verified more strictly than Tyk does: nothing unsigned without its name being allowed, with a key or without
// one, and the wiring of signed ones is nobody's word yet.
func (l *loader) bundles() {
	base, said := l.text("bundle_base_url")
	if !l.truth("enable_bundle_downloader") {
		if said {
			l.report(l.said["bundle_base_url"], config.SeverityWarning, "has no effect, since enable_bundle_downloader is off: bundles are looked for in the folder of plugins alone")
		}
		base = ""
	}
	l.set("bundles.base_url", strings.TrimPrefix(base, "file://")) // file: is a reference in our settings
	if key, ok := l.text("public_key_path"); ok {
		l.set("bundles.public_keys", key)
		l.report(l.said["public_key_path"], config.SeverityWarning,
			"Tyk's signature covers the files of a bundle and not which of them run where: adopt each bundle (turnbuckle bundle adopt), or accept that with --trust-tyk-wiring")
	} else if base != "" {
		l.report(l.said["bundle_base_url"], config.SeverityWarning, "bundles that nobody signed load only by name: --allow-unsigned NAME for each")
	}
	if l.truth("bundle_insecure_skip_verify") {
		l.set("bundles.tls.insecure_skip_verify", "true")
		l.report(l.said["bundle_insecure_skip_verify"], config.SeverityWarning, "holds for the server of bundles alone")
	}
}
