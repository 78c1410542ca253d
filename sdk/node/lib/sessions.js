'use strict';
// Sessions as hooks see them have the keys of a session's JSON in Tyk's shape; the protocols' messages have names of their own.

const names = { metadata: 'meta_data', hmac_secret: 'hmac_string' }; // message to JSON, where they differ
const texts = ['key_id', 'alias', 'org_id', 'oauth_client_id', 'hmac_secret', 'apply_policy_id', 'last_updated', 'certificate', 'post_expiry_action'];
const numbers = [
  'last_check', 'allowance', 'rate', 'per', 'expires', 'quota_max', 'quota_renews', 'quota_remaining', 'quota_renewal_rate', 'data_expires', 'id_extractor_deadline',
  'session_lifetime', 'max_query_depth', 'post_expiry_grace_period',
];
const flags = ['hmac_enabled', 'is_inactive', 'enable_detailed_recording'];
const lists = ['apply_policies', 'tags'];
const maps = ['oauth_keys', 'metadata'];

const jsonName = (name) => names[name] ?? name;

/** A session's JSON, with every key, from its message. */
function sessionOf(message) {
  const out = {};
  const take = (list, read) => {
    for (const name of list) out[jsonName(name)] = read(message[name]);
  };
  take(texts, (v) => v ?? '');
  take(numbers, (v) => v ?? 0);
  take(flags, (v) => v ?? false);
  take(lists, (v) => [...(v ?? [])]);
  take(maps, (v) => Object.fromEntries(v ?? []));
  out.basic_auth_data = { password: message.basic_auth_data?.password ?? '', hash_type: message.basic_auth_data?.hash ?? '' };
  out.jwt_data = { secret: message.jwt_data?.secret ?? '' };
  out.monitor = { trigger_limits: [...(message.monitor?.trigger_limits ?? [])] };
  out.access_rights = {};
  for (const [id, a] of message.access_rights ?? []) {
    const urls = a.allowed_urls.map((u) => ({ url: u.url ?? '', methods: [...u.methods] }));
    out.access_rights[id] = { api_name: a.api_name ?? '', api_id: a.api_id ?? '', versions: [...a.versions], allowed_urls: urls };
  }
  return out;
}

/** A session's message from its JSON. Keys that it does not know are passed over; a value of the wrong type throws. */
function messageOf(json) {
  if (json === null || typeof json !== 'object') throw new TypeError('a session is an object');
  const out = {};
  const take = (list, type) => {
    for (const name of list) {
      const v = json[jsonName(name)];
      if (v === undefined || v === null) continue;
      if (typeof v !== type) throw new TypeError(`session.${jsonName(name)}: want a ${type}`);
      out[name] = v;
    }
  };
  take(texts, 'string');
  take(numbers, 'number');
  take(flags, 'boolean');
  for (const name of lists) out[name] = Array.from(json[name] ?? [], String);
  for (const name of maps) out[name] = new Map(Object.entries(json[jsonName(name)] ?? {}).map(([k, v]) => [k, typeof v === 'string' ? v : JSON.stringify(v)]));
  const { basic_auth_data: basic, jwt_data: jwt, monitor } = json;
  if (basic && (basic.password || basic.hash_type)) out.basic_auth_data = { password: basic.password ?? '', hash: basic.hash_type ?? '' };
  if (jwt?.secret) out.jwt_data = { secret: jwt.secret };
  if (monitor?.trigger_limits?.length) out.monitor = { trigger_limits: monitor.trigger_limits };
  out.access_rights = new Map(Object.entries(json.access_rights ?? {}).map(([id, a]) => [id, {
    api_name: a.api_name ?? '', api_id: a.api_id ?? '', versions: a.versions ?? [],
    allowed_urls: (a.allowed_urls ?? []).map((u) => ({ url: u.url ?? '', methods: u.methods ?? [] })),
  }]));
  return out;
}

module.exports = { sessionOf, messageOf };
