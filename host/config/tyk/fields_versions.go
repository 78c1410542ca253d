package tyk

import "slices"

// versionFields are the versions of an API and their path lists.
func versionFields() []Field {
	return slices.Concat(
		works("header, url-param or url", "definition.location"),
		works("", "definition.key", "definition.strip_path", "definition.strip_versioning_data"),
		refused("versions that are APIs of their own are not supported: use version_data", "definition.enabled"),
		ignored("used with definition.enabled alone", "definition.name", "definition.default", "definition.versions",
			"definition.fallback_to_default", "definition.url_versioning_pattern", "definition.base_id", "definition.base_api_id"),
		works("", "version_data.not_versioned", "version_data.default_version"),
		under("version_data.versions.*", versionKeys(), under("extended_paths", pathLists(), otherLists())),
	)
}

func versionKeys() []Field {
	return slices.Concat(
		works("", "name"),
		works(`"2006-01-02 15:04" in UTC; empty or -1 is never`, "expires"),
		works("", "override_target", "use_extended_paths", "ignore_endpoint_case"),
		works("used when use_extended_paths is false", "paths.ignored", "paths.white_list", "paths.black_list"),
		works("values may name $tyk_meta. and $tyk_context. variables; those with $secret_ are refused", "global_headers", "global_response_headers"),
		works("", "global_headers_remove", "global_headers_disabled", "global_response_headers_remove",
			"global_response_headers_disabled", "global_size_limit", "global_size_limit_disabled"),
	)
}

// pathLists are the lists of extended_paths that work.
func pathLists() []Field {
	match := func(list string) []Field {
		return works("", list+"[].path", list+"[].method", list+"[].disabled", list+"[].ignore_case")
	}
	plain := func(list string) []Field {
		return slices.Concat(match(list),
			works("which methods; mock replies are refused", list+"[].method_actions"),
			ignored("an identifier of the dashboard", list+"[].id", list+"[].name"))
	}
	headers := func(list string) []Field {
		return slices.Concat(match(list),
			works("values may name $tyk_meta. and $tyk_context. variables; those with $secret_ are refused", list+"[].add_headers"),
			works("", list+"[].delete_headers"),
			ignored("the name of the list says which side is changed", list+"[].act_on"))
	}
	return slices.Concat(
		plain("ignored"), plain("white_list"), plain("black_list"),
		match("size_limits"), works("bytes", "size_limits[].size_limit"),
		match("rate_limit"), works("of the path as a whole", "rate_limit[].rate", "rate_limit[].per"),
		match("hard_timeouts"), works("seconds", "hard_timeouts[].timeout"),
		match("virtual"), works("", "virtual[].response_function_name", "virtual[].function_source_uri", "virtual[].use_session",
			"virtual[].proxy_on_error"),
		works("file or blob", "virtual[].function_source_type"),
		headers("transform_headers"), headers("transform_response_headers"),
		ignored("analytics", "track_endpoints", "do_not_track_endpoints"),
	)
}

// otherLists are the lists of extended_paths that refuse the definition when they have an entry.
func otherLists() []Field {
	return slices.Concat(
		refused("mock replies are not supported", "mock_response"),
		refused("caching is not supported", "cache", "advance_cache_config"),
		refused("body transforms are not supported", "transform", "transform_response", "transform_jq", "transform_jq_response"),
		refused("URL rewrites are not supported", "url_rewrites"),
		refused("method transforms are not supported", "method_transforms"),
		refused("Go plugins are not supported", "go_plugin"),
		refused("circuit breakers by path are not supported", "circuit_breakers"),
		refused("validation of requests is not supported", "validate_json", "validate_request"),
		refused("paths for internal use are not supported", "internal"),
		refused("persisted GraphQL is not supported", "persist_graphql"),
	)
}
