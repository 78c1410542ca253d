'use strict';
// The messages of both protocols: proto/plugin/v1/*.proto and proto/coprocess/*.proto.

const { table } = require('./protobuf');

const textMap = table({ 1: ['key', 'string'], 2: ['value', 'string'] });

const AccessSpec = table({ 1: ['url', 'string'], 2: ['methods', 'string', 'list'] });
const AccessDefinition = table({ 1: ['api_name', 'string'], 2: ['api_id', 'string'], 3: ['versions', 'string', 'list'], 4: ['allowed_urls', AccessSpec, 'list'] });
const BasicAuthData = table({ 1: ['password', 'string'], 2: ['hash', 'string'] });
const JWTData = table({ 1: ['secret', 'string'] });
const Monitor = table({ 1: ['trigger_limits', 'double', 'list'] });

/** Session, and with the same numbers Tyk's SessionState. */
const Session = table({
  1: ['last_check', 'int'], 2: ['allowance', 'double'], 3: ['rate', 'double'], 4: ['per', 'double'], 5: ['expires', 'int'], 6: ['quota_max', 'int'],
  7: ['quota_renews', 'int'], 8: ['quota_remaining', 'int'], 9: ['quota_renewal_rate', 'int'],
  10: ['access_rights', table({ 1: ['key', 'string'], 2: ['value', AccessDefinition] }), 'map'], 11: ['org_id', 'string'], 12: ['oauth_client_id', 'string'],
  13: ['oauth_keys', textMap, 'map'], 14: ['basic_auth_data', BasicAuthData], 15: ['jwt_data', JWTData], 16: ['hmac_enabled', 'bool'], 17: ['hmac_secret', 'string'],
  18: ['is_inactive', 'bool'], 19: ['apply_policy_id', 'string'], 20: ['data_expires', 'int'], 21: ['monitor', Monitor], 22: ['enable_detailed_recording', 'bool'],
  23: ['metadata', textMap, 'map'], 24: ['tags', 'string', 'list'], 25: ['alias', 'string'], 26: ['last_updated', 'string'], 27: ['id_extractor_deadline', 'int'],
  28: ['session_lifetime', 'int'], 29: ['apply_policies', 'string', 'list'], 30: ['certificate', 'string'], 31: ['max_query_depth', 'int'], 32: ['key_id', 'string'],
  33: ['post_expiry_action', 'string'], 34: ['post_expiry_grace_period', 'int'],
});

// The native protocol.

const Field = table({ 1: ['name', 'string'], 2: ['value', 'bytes'] });
const Value = table({ 1: ['name', 'string'], 2: ['data', 'bytes', 'optional'] });
const Response = table({ 1: ['status', 'int'], 2: ['headers', Field, 'list'], 3: ['body', 'bytes', 'optional'], 4: ['length', 'sint'] });
const Route = table({ 1: ['id', 'string'], 2: ['name', 'string'], 3: ['org', 'string'], 4: ['listen_path', 'string'], 5: ['bundle', 'string'], 6: ['config', 'bytes'] });
const HookUse = table({ 1: ['name', 'string'], 2: ['config', 'bytes'] });
const Binding = table({ 1: ['id', 'uint'], 2: ['phase', 'uint'], 3: ['hooks', HookUse, 'list'], 4: ['route', Route] });

const Call = table({
  1: ['id', 'uint'], 2: ['binding', 'uint'], 3: ['timeout_us', 'uint'], 4: ['method', 'bytes'], 5: ['path', 'bytes'], 6: ['query', 'bytes'], 7: ['uri', 'bytes'],
  8: ['scheme', 'bytes'], 9: ['host', 'bytes'], 10: ['proto', 'bytes'], 11: ['request_id', 'string'], 12: ['client', 'string'], 13: ['headers', Field, 'list'],
  14: ['body', 'bytes', 'optional'], 15: ['length', 'sint'], 16: ['response', Response], 17: ['session', Session], 18: ['values', Value, 'list'],
  19: ['traceparent', 'string'], 20: ['tracestate', 'string'], 21: ['peer_certificates', 'bytes', 'list'],
});

const HookRecord = table({
  1: ['name', 'string'], 2: ['server', 'string'], 3: ['phase', 'uint'], 4: ['outcome', 'uint'], 5: ['changed', 'uint'], 6: ['duration', 'int'], 7: ['error', 'string'],
});
const Record = table({
  1: ['time', 'int'], 2: ['duration', 'int'], 3: ['upstream', 'int'], 4: ['request_id', 'string'], 5: ['traceparent', 'string'], 6: ['tracestate', 'string'],
  7: ['route', 'string'], 8: ['route_name', 'string'], 9: ['org', 'string'], 10: ['client', 'string'], 11: ['method', 'bytes'], 12: ['scheme', 'bytes'],
  13: ['host', 'bytes'], 14: ['path', 'bytes'], 15: ['query', 'bytes'], 16: ['proto', 'bytes'], 17: ['user_agent', 'bytes'], 18: ['status', 'int'],
  19: ['request_size', 'int'], 20: ['reply_size', 'int'], 21: ['target', 'string'], 22: ['answered_by', 'string'], 23: ['alias', 'string'], 24: ['key_hash', 'string'],
  25: ['tags', 'string', 'list'], 26: ['error', 'string'], 27: ['hooks', HookRecord, 'list'],
  28: ['header', Field, 'list'], 29: ['reply_header', Field, 'list'], 30: ['header_cut', 'bool'],
});
const Event = table({
  1: ['time', 'int'], 2: ['type', 'string'], 3: ['route', 'string'], 4: ['org', 'string'], 5: ['request_id', 'string'], 6: ['message', 'string'], 7: ['meta', textMap, 'map'],
});

const HostFrame = table({
  1: ['seq', 'uint'], 2: ['bindings', Binding, 'list'], 3: ['calls', Call, 'list'], 4: ['cancels', 'uint', 'list'], 5: ['drain', 'bool'],
  6: ['records', Record, 'list'], 7: ['events', Event, 'list'], 8: ['dropped', 'uint'], 9: ['observers', 'string', 'list'],
});

const HeaderOp = table({ 1: ['kind', 'uint'], 2: ['name', 'string'], 3: ['value', 'bytes'] });
const Effects = table({
  1: ['method', 'bytes', 'optional'], 2: ['path', 'bytes', 'optional'], 3: ['query', 'bytes', 'optional'], 4: ['headers', HeaderOp, 'list'], 5: ['body', 'bytes', 'optional'],
  6: ['session', Session], 7: ['clear_session', 'bool'], 8: ['values', Value, 'list'], 9: ['answer', Response], 10: ['status', 'int', 'optional'],
  11: ['response_headers', HeaderOp, 'list'], 12: ['response_body', 'bytes', 'optional'],
});
const Refused = table({ 1: ['status', 'int'], 2: ['message', 'string'], 3: ['headers', Field, 'list'] });
const Failure = table({ 1: ['code', 'uint'], 2: ['message', 'string'] });
const HookOutcome = table({ 1: ['hook', 'uint'], 2: ['duration_us', 'uint'], 3: ['changed', 'uint'] });
const LogLine = table({ 1: ['hook', 'uint'], 2: ['level', 'sint'], 3: ['message', 'string'] });
const Counter = table({ 1: ['hook', 'uint'], 2: ['name', 'string'], 3: ['delta', 'sint'] });
const Reply = table({
  1: ['id', 'uint'], 2: ['effects', Effects], 3: ['error', Refused], 4: ['failure', Failure], 5: ['outcomes', HookOutcome, 'list'], 6: ['logs', LogLine, 'list'],
  7: ['counters', Counter, 'list'], 8: ['queued_us', 'uint'],
});
const PluginFrame = table({ 1: ['ack', 'uint'], 2: ['credit', 'uint'], 3: ['replies', Reply, 'list'], 4: ['drain', 'bool'] });

const Needs = table({ 1: ['fields', 'uint'], 2: ['header_names', 'string', 'list'], 3: ['body_limit', 'uint'] });
const Hook = table({ 1: ['name', 'string'], 2: ['phase', 'uint'], 3: ['needs', Needs] });
const Limits = table({ 1: ['window', 'uint'], 2: ['frame_bytes', 'uint'], 3: ['frame_calls', 'uint'] });
const DescribeReply = table({
  1: ['name', 'string'], 2: ['version', 'string'], 3: ['minor', 'uint'], 4: ['hooks', Hook, 'list'], 5: ['observers', 'string', 'list'], 6: ['config_schema', 'bytes'],
  7: ['limits', Limits],
});

// Tyk's protocol.

const ReturnOverrides = table({
  1: ['response_code', 'int'], 2: ['response_error', 'string'], 3: ['headers', textMap, 'map'], 4: ['override_error', 'bool'], 5: ['response_body', 'string'],
});
const MiniRequestObject = table({
  1: ['headers', textMap, 'map'], 2: ['set_headers', textMap, 'map'], 3: ['delete_headers', 'string', 'list'], 4: ['body', 'string'], 5: ['url', 'string'],
  6: ['params', textMap, 'map'], 7: ['add_params', textMap, 'map'], 8: ['extended_params', textMap, 'map'], 9: ['delete_params', 'string', 'list'],
  10: ['return_overrides', ReturnOverrides], 11: ['method', 'string'], 12: ['request_uri', 'string'], 13: ['scheme', 'string'], 14: ['raw_body', 'bytes'],
});
const MultiValue = table({ 1: ['key', 'string'], 2: ['values', 'string', 'list'] });
const ResponseObject = table({ 1: ['status_code', 'int'], 2: ['raw_body', 'bytes'], 3: ['body', 'string'], 4: ['headers', textMap, 'map'], 5: ['multivalue_headers', MultiValue, 'list'] });
const TykObject = table({
  1: ['hook_type', 'uint'], 2: ['hook_name', 'string'], 3: ['request', MiniRequestObject], 4: ['session', Session], 5: ['metadata', textMap, 'map'], 6: ['spec', textMap, 'map'],
  7: ['response', ResponseObject],
});
const TykEvent = table({ 1: ['payload', 'string'] });

// Health.

const HealthRequest = table({ 1: ['service', 'string'] });
const HealthReply = table({ 1: ['status', 'uint'] });

module.exports = { HostFrame, Binding, Call, Reply, PluginFrame, DescribeReply, Session, Response, TykObject, TykEvent, HealthRequest, HealthReply };
