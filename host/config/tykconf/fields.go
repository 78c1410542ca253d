package tykconf

type status uint8

const (
	works   status = iota
	ignored        // has no meaning here
	refused        // protects, or changes traffic, in a way we do not
)

type field struct {
	status status
	note   string
}

// table is every setting of Tyk's that is known, by path.
func table() map[string]*field {
	t := map[string]*field{}
	add := func(s status, note string, paths ...string) {
		for _, p := range paths {
			t[p] = &field{s, note}
		}
	}
	add(works, "", "listen_address", "listen_port", "secret", "control_api_port", "control_api_hostname", "app_path",
		"template_path", "hide_generator_header", "log_level",
		"policies.policy_source", "policies.policy_path", "policies.policy_record_name",
		"storage.type", "storage.host", "storage.port", "storage.addrs", "storage.hosts", "storage.username", "storage.password",
		"storage.database", "storage.enable_cluster", "storage.master_name", "storage.sentinel_password", "storage.use_ssl",
		"storage.ca_file", "storage.cert_file", "storage.key_file", "storage.optimisation_max_active",
		"hash_keys", "hash_key_function", "hash_key_function_fallback", "enable_hashed_keys_listing", "min_token_length",
		"allow_master_keys", "force_global_session_lifetime", "global_session_lifetime", "session_lifetime_respects_key_expiration",
		"coprocess_options.enable_coprocess", "coprocess_options.coprocess_grpc_server", "coprocess_options.grpc_recv_max_size",
		"coprocess_options.grpc_send_max_size", "coprocess_options.grpc_authority",
		"http_server_options.enable_strict_routes", "http_server_options.xff_depth",
		"http_server_options.use_ssl", "http_server_options.certificates", "http_server_options.min_version",
		"enable_redis_rolling_limiter", "enable_sentinel_rate_limiter", "rate_limit_response_headers")
	add(ignored, "the rate is enforced by a share of its own of each gateway, without thresholds", "drl_threshold", "drl_notification_frequency",
		"drl_enable_sentinel_rate_limiter", "enable_non_transactional_rate_limiter", "enable_rate_limit_smoothing")
	add(ignored, "several addresses are always asked in turn", "coprocess_options.grpc_round_robin_load_balancing")
	add(works, "", "coprocess_options.python_version")
	add(ignored, "the gateway brings what its plugins in Python import", "coprocess_options.python_path_prefix")
	add(ignored, "passwords are hashed with bcrypt", "basic_auth_hash_key_function")
	add(ignored, "the listener takes every host name; definitions say which are theirs", "hostname", "enable_custom_domains")
	add(ignored, "/hello and /ready have their names", "health_check_endpoint_name", "readiness_check_endpoint_name", "health_check")
	add(ignored, "files and the store are watched", "suppress_redis_signal_reload", "reload_interval", "optimisations_use_async_session_write",
		"local_session_cache", "use_db_app_configs", "db_app_conf_options", "node_secret", "slave_options", "uptime_tests")
	add(ignored, "analytics are observers' affair", "enable_analytics", "analytics_config", "tracing", "opentelemetry", "statsd_connection_string",
		"newrelic", "monitor", "dnscache", "log_format", "enable_http_profiler", "enable_key_logging", "track_404_logs", "instrumentation")
	add(ignored, "redis is the one kind of storage there", "storage.redis_use_tls", "storage.ssl_insecure", "storage.timeout", "storage.optimisation_max_idle")
	add(works, "", "middleware_path", "enable_jsvm", "jsvm_timeout", "tyk_js_path", "disable_virtual_path_blobs")
	add(works, "", "enable_bundle_downloader", "bundle_base_url", "public_key_path", "bundle_insecure_skip_verify")
	add(ignored, "every bundle is verified each time it is loaded", "skip_verify_existing_plugin_bundle")
	add(ignored, "headers keep their spelling", "ignore_canonical_mime_header_key")
	add(ignored, "the path travels byte for byte", "http_server_options.skip_target_path_escaping", "http_server_options.skip_url_cleaning")
	add(ignored, "time limits are those of listen in turnbuckle.yaml", "http_server_options.read_timeout", "http_server_options.write_timeout",
		"http_server_options.override_defaults", "http_server_options.enable_websockets", "http_server_options.flush_interval",
		"http_server_options.enable_http2", "proxy_enable_http2", "proxy_default_timeout", "max_idle_connections_per_host", "max_idle_connections")
	add(ignored, "settings are shown by turnbuckle settings and GET /v1/settings", "enable_config_inspection")
	add(ignored, "connections are kept: clients say when they do not want that", "close_connections", "close_idle_connections")
	add(ignored, "rates regain evenly, without windows", "enable_fixed_window_rate_limiter")
	add(ignored, "policies may always name their ids", "policies.allow_explicit_policy_id")
	add(ignored, "there is no OAuth server, no dashboard and no cache here", "oauth_refresh_token_expire", "oauth_token_expire", "oauth_token_expired_retain_period",
		"policies.policy_connection_string", "disable_dashboard_zeroconf", "allow_insecure_configs", "allow_remote_config", "auth_override",
		"cache_storage", "enable_separate_cache_store", "service_discovery")
	add(ignored, "it has no counterpart", "pid_file_location", "experimental_process_org_off_thread", "security.certificates")
	add(refused, "messages of errors are templates here: use errors in turnbuckle.yaml", "override_messages", "error_overrides")
	add(refused, "gateway-wide event handlers are not supported: give them to each definition", "event_handlers")
	add(refused, "references are env: and file:", "secrets", "kv")
	add(refused, "path suffix matching is not supported: end a path's pattern with $ where it must end there", "http_server_options.enable_path_suffix_matching")
	add(refused, "path prefix matching is not supported: a path in a list is looked for anywhere in the request's, begin its pattern with ^ where it must begin there",
		"http_server_options.enable_path_prefix_matching")
	add(refused, "mutual TLS of the control API is not supported: keep its listener on loopback", "security.control_api_use_mutual_tls")
	add(refused, "quotas of organisations are not enforced", "enforce_org_quotas", "enforce_org_data_age")
	return t
}
