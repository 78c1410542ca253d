package tyk

import "slices"

// identityFields name the API and what surrounds it.
func identityFields() []Field {
	return slices.Concat(
		works("", "api_id", "name", "org_id", "tags", "do_not_track"),
		works("without tags when true", "tags_disabled"),
		works("a host name or *.suffix; patterns are refused", "domain"),
		works("", "domain_disabled"),
		works("http and https; another listen protocol is refused", "protocol"),
		ignored("an identifier of the dashboard", "id", "_id", "slug", "hook_references", "created_at", "updated_at",
			"user_owners", "user_group_owners", "sort_by", "is_site", "api_model", "category", "categories", "description"),
		works("has no effect, and warns when false: as in Tyk, every definition in a file is served", "active"),
		ignored("analytics", "tag_headers", "enable_detailed_recording", "expire_analytics_after", "detailed_tracing"),
		ignored("certificates of the listener are in the settings, listen.tls", "certificates"),
		ignored("dashboard notifications", "notifications"),
		ignored("the name of a version in a family of APIs", "version_name"),
		refused("an API that is reachable from other APIs alone is not supported", "internal"),
		refused("a port of its own is not supported", "listen_port"),
		refused("PROXY protocol is a setting of the listener, listen.proxy_protocol", "enable_proxy_protocol"),
		refused("OAS definitions are not supported: export the API as classic", "is_oas", "x-tyk-api-gateway"),
		refused("the expiry of a whole API is not supported: use expires of a version", "expiration"),
		refused("GraphQL is not supported", "graphql"),
		refused("MCP and JSON-RPC are not supported", "application_protocol", "json_rpc_version", "mcp"),
		refused("batch requests are not supported", "enable_batch_request_support"),
	)
}

// authFields say who may call.
func authFields() []Field {
	return slices.Concat(
		works("removes every method of authentication and post_key_auth hooks", "use_keyless"),
		works("plugin auth with custom_middleware.auth_check", "custom_plugin_auth_enabled", "enable_coprocess_auth", "use_go_plugin_auth"),
		works("on its own when no other method is on", "use_standard_auth"),
		works("", "use_basic_auth", "basic_auth.disable_caching", "basic_auth.cache_ttl", "basic_auth.extract_from_body",
			"basic_auth.body_user_regexp", "basic_auth.body_password_regexp"),
		works("", "enable_signature_checking", "hmac_allowed_clock_skew"),
		works("empty admits all five", "hmac_allowed_algorithms"),
		works("", "enable_jwt", "jwt_signing_method", "jwt_source", "jwt_jwks_uris[].url", "jwt_jwks_uris[].cache_timeout",
			"jwt_identity_base_field", "jwt_client_base_field", "jwt_policy_field_name", "jwt_default_policies",
			"jwt_issued_at_validation_skew", "jwt_expires_at_validation_skew", "jwt_not_before_validation_skew", "jwt_skip_kid",
			"jwt_scope_to_policy_mapping", "jwt_scope_claim_name", "scopes.jwt.scope_claim_name", "scopes.jwt.scope_to_policy",
			"idp_client_id_mapping_disabled"),
		refused("times in tokens are always looked at", "jwt_disable_issued_at_validation", "jwt_disable_expires_at_validation",
			"jwt_disable_not_before_validation"),
		ignored("used with OpenID Connect alone", "scopes.oidc"),
		works("one of the methods that are on", "base_identity_provided_by"),
		credentialFields("auth_configs.authToken"), credentialFields("auth_configs.jwt"), credentialFields("auth_configs.hmac"),
		credentialFields("auth_configs.basic"), credentialFields("auth_configs.coprocess"), credentialFields("auth"),
		under("auth_configs.authToken", signatureFields()), under("auth", signatureFields()),
		refused("signatures of credentials are for auth tokens", "auth_configs.jwt.validate_signature", "auth_configs.hmac.validate_signature",
			"auth_configs.basic.validate_signature", "auth_configs.coprocess.validate_signature"),
		refused("certificates as credentials are for auth tokens", "auth_configs.jwt.use_certificate", "auth_configs.hmac.use_certificate",
			"auth_configs.basic.use_certificate", "auth_configs.coprocess.use_certificate"),
		ignored("used with validate_signature alone", "auth_configs.jwt.signature", "auth_configs.hmac.signature",
			"auth_configs.basic.signature", "auth_configs.coprocess.signature"),
		ignored("belongs to a method that is refused when it is on", "auth_configs.*"),
		refused("OAuth 2 is not supported: use JWTs of its provider", "use_oauth2"),
		refused("external OAuth is not supported: use JWTs of its provider", "external_oauth.enabled"),
		ignored("used with external_oauth.enabled alone", "external_oauth.providers"),
		refused("OpenID Connect is not supported: use JWTs of its provider", "use_openid"),
		works("who may connect, in the listener's TLS (listen.tls.client_auth in the settings)", "use_mutual_tls_auth", "client_certificates"),
		works("", "strip_auth_data", "session_lifetime", "session_lifetime_respects_key_expiration"),
		ignored("used with use_oauth2 alone", "oauth_meta"),
		ignored("used with use_openid alone", "openid_options"),
		ignored("a quota begins with the first request", "dont_set_quota_on_create"),
		ignored("there is one store", "session_provider", "auth_provider"),
		works("", "disable_rate_limit", "disable_quota"),
	)
}

// credentialFields say where a credential is.
func credentialFields(prefix string) []Field {
	return slices.Concat(
		works("", prefix+".auth_header_name", prefix+".disable_header", prefix+".use_param", prefix+".param_name",
			prefix+".use_cookie", prefix+".cookie_name"),
		ignored("a label", prefix+".name"),
	)
}

func signatureFields() []Field {
	return slices.Concat(
		works("a client certificate in place of a token that is missing", "use_certificate"),
		works("", "validate_signature", "signature.algorithm", "signature.header", "signature.use_param", "signature.param_name",
			"signature.secret", "signature.allowed_clock_skew", "signature.error_code", "signature.error_message"),
	)
}

// proxyFields say where requests come in and go out.
func proxyFields() []Field {
	return slices.Concat(
		works("", "proxy.listen_path"),
		works("http, https, h2c, ws and wss", "proxy.target_url"),
		works("", "proxy.strip_listen_path", "proxy.disable_strip_slash", "proxy.preserve_host_header"),
		works("an entry that stands several times weighs as much", "proxy.enable_load_balancing", "proxy.target_list"),
		works("with uptime tests that are the same for every target", "proxy.check_host_against_uptime_tests"),
		refused("service discovery is not supported", "proxy.service_discovery.use_discovery_service"),
		ignored("used with use_discovery_service alone", "proxy.service_discovery.*"),
		works("", "proxy.transport.ssl_insecure_skip_verify", "proxy.transport.ssl_ciphers"),
		works("never lower than TLS 1.2", "proxy.transport.ssl_min_version", "proxy.transport.ssl_max_version"),
		refused("checking common names is not supported", "proxy.transport.ssl_force_common_name_check"),
		refused("an HTTP proxy on the way to the upstream is not supported", "proxy.transport.proxy_url"),
		works("health checks, together with proxy.check_host_against_uptime_tests", "uptime_tests.disabled",
			"uptime_tests.check_list[].url", "uptime_tests.check_list[].method", "uptime_tests.check_list[].protocol",
			"uptime_tests.check_list[].timeout", "uptime_tests.check_list[].headers", "uptime_tests.check_list[].body"),
		works("refused when the tests decide about targets", "uptime_tests.check_list[].commands",
			"uptime_tests.check_list[].enable_proxy_protocol"),
		ignored("analytics of uptime tests", "uptime_tests.config.expire_utime_after", "uptime_tests.config.recheck_wait",
			"uptime_tests.config.expire_uptime_after"),
		refused("service discovery is not supported", "uptime_tests.config.service_discovery.use_discovery_service"),
		ignored("used with use_discovery_service alone", "uptime_tests.config.service_discovery.*"),
		off("upstream_certificates_disabled", refused("client certificates for upstreams by certificate id are not supported", "upstream_certificates")),
		off("certificate_pinning_disabled", refused("pinned public keys are not supported", "pinned_public_keys")),
		works("", "upstream_certificates_disabled", "certificate_pinning_disabled"),
		refused("auth towards the upstream is not supported", "upstream_auth.enabled"),
		ignored("used with upstream_auth.enabled alone", "upstream_auth.*"),
		refused("signing of upstream requests is not supported", "request_signing.is_enabled"),
		ignored("used with request_signing.is_enabled alone", "request_signing.*"),
	)
}

// pluginFields are the hooks.
func pluginFields() []Field {
	entry := func(path string) []Field {
		return slices.Concat(
			works("", path+".name", path+".raw_body_only", path+".disabled"),
			works("of scripts; in Python path names the folder, or a file in it, and there is no code; gRPC hooks have a name alone", path+".path", path+".code", path+".require_session"),
		)
	}
	return slices.Concat(
		works("grpc, otto, javascript, lua, python; empty where a path ends in .js; others are refused when there are hooks", "custom_middleware.driver"),
		under("custom_middleware", entry("pre[]"), entry("auth_check"), entry("post_key_auth[]"), entry("post[]"), entry("response[]")),
		works("", "custom_middleware.id_extractor.disabled", "custom_middleware.id_extractor.extract_with",
			"custom_middleware.id_extractor.extractor_config.header_name", "custom_middleware.id_extractor.extractor_config.param_name",
			"custom_middleware.id_extractor.extractor_config.regex_expression", "custom_middleware.id_extractor.extractor_config.regex_match_index",
			"custom_middleware.id_extractor.extractor_config.xpath_expression"),
		works("header, form or body; what extracts nothing in Tyk is refused", "custom_middleware.id_extractor.extract_from"),
		refused("traffic log hooks are not supported", "custom_middleware.traffic_logs"),
		works("one name, or several with commas between; a bundle's hooks take the place of custom_middleware", "custom_middleware_bundle"),
		works("", "custom_middleware_bundle_disabled", "config_data", "config_data_disabled"),
		works("cp_dynamic_handler, eh_dynamic_handler and eh_log_handler; others are refused",
			"event_handlers.events.*[].handler_name", "event_handlers.events.*[].handler_meta"),
		works("ready-made plugins, as `use` of a native definition has them; Tyk passes over the key", ours+".use"),
		ignored("a label of the dashboard", "event_handlers.events.*[].id", "event_handlers.events.*[].name"),
		refused("analytics plugins are not supported", "analytics_plugin.enable"),
		ignored("used with analytics_plugin.enable alone", "analytics_plugin.*"),
		works("header_injector without options and the names of hook kinds; others are refused",
			"response_processors[].name", "response_processors[].options"),
	)
}

// trafficFields admit, limit and change requests and replies.
func trafficFields() []Field {
	return slices.Concat(
		works("", "CORS.enable", "CORS.allowed_origins", "CORS.allowed_methods", "CORS.allowed_headers", "CORS.exposed_headers",
			"CORS.allow_credentials", "CORS.max_age", "CORS.options_passthrough"),
		ignored("debugging", "CORS.debug"),
		works("", "enable_ip_whitelisting", "allowed_ips", "enable_ip_blacklisting", "blacklisted_ips"),
		works("",
			"global_rate_limit.rate", "global_rate_limit.per", "global_rate_limit.disabled"),
		ignored("used with a rate alone", "global_rate_limit.smoothing"),
		refused("caching is not supported", "cache_options.enable_cache"),
		ignored("used with enable_cache alone", "cache_options.*"),
		works("for values of header transforms", "enable_context_vars"),
		off("error_overrides_disabled", refused("error overrides are not supported", "error_overrides")),
		works("", "error_overrides_disabled"),
	)
}
