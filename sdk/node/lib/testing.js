'use strict';
// Runs hooks with no gateway: build an exchange, run a hook on it, look at what it did.

const { Refusal } = require('./errors');
const { phases } = require('./exchange');
const { pairsOf } = require('./headers');
const { Plugin } = require('./plugin');
const { Run } = require('./run');
const { messageOf } = require('./sessions');
const { textOf, bytesOf } = require('./text');

const fieldsOf = (headers) => pairsOf(headers).map(([name, value]) => ({ name, value: bytesOf(value) }));

/**
 * Runs a hook on an exchange and resolves with what came of it. What the hook does not need is not there, as behind a gateway. See
 * testing.d.ts for the exchange.
 */
async function run(definition, name, exchange = {}) {
  const plugin = definition instanceof Plugin ? definition : new Plugin(definition);
  const phase = phases.indexOf(exchange.phase ?? (phases.includes(name) ? name : 'pre'));
  if (phase < 1) throw new TypeError(`unknown phase ${exchange.phase}`);
  const spec = plugin.find(name, phase);
  if (!spec) throw new TypeError(`plugin ${plugin.name} has no hook ${name} in phase ${phases[phase]}`);
  const config = exchange.config === undefined ? undefined : Buffer.from(JSON.stringify(exchange.config));
  const binding = { phase, hooks: [{ name, config }], route: { id: 'test', name: 'test', listen_path: '/', ...exchange.route } };
  const call = new Run(plugin, binding, callOf(exchange, spec.needs));
  await call.start();
  return resultOf(call);
}

function callOf(e, needs) {
  const has = (bit) => (needs.fields & (1 << bit)) !== 0;
  const [path, query] = (e.path ?? '/').split(/\?(.*)/s);
  const kept = (lines) => lines.filter((l) => needs.header_names.length === 0 || needs.header_names.some((n) => n.toLowerCase() === l.name.toLowerCase()));
  const body = bytesOf(e.body);
  const call = {
    id: 1, method: bytesOf(e.method ?? 'GET'), path: bytesOf(path), query: has(1) ? bytesOf(query) : undefined, uri: bytesOf(e.path ?? '/'), scheme: bytesOf(e.scheme ?? 'http'),
    host: bytesOf(e.host ?? 'example.test'), proto: bytesOf('HTTP/1.1'), request_id: e.request_id ?? 'test-request', client: `${e.client ?? '127.0.0.1'}:54321`,
    headers: has(0) ? kept(fieldsOf(e.headers)) : [], body: has(2) ? body : undefined, length: body.length, peer_certificates: has(7) && e.peer ? [e.peer] : [],
    session: has(5) && e.session ? messageOf(e.session) : undefined, values: has(6) ? valuesOf(e.values) : [],
    traceparent: has(8) ? e.trace?.parent : undefined, tracestate: has(8) ? e.trace?.state : undefined,
  };
  if (e.reply) {
    const data = bytesOf(e.reply.body);
    call.response = { status: e.reply.status ?? 200, headers: has(3) ? fieldsOf(e.reply.headers) : [], body: has(4) ? data : undefined, length: data.length };
  }
  return call;
}

const valuesOf = (values) => Object.entries(values ?? {}).map(([name, value]) => ({ name, data: Buffer.from(JSON.stringify(value)) }));

function resultOf({ x, error, effects }) {
  const refused = error instanceof Refusal;
  return {
    outcome: refused ? 'refused' : error ? 'failed' : x.answered ? 'answered' : 'ok',
    error: error && { status: error.status, message: error.message, headers: refused ? error.headers.map((h) => [h.name, textOf(h.value)]) : [] },
    request: { method: x.request.method, path: x.request.path, query: x.request.query.raw, headers: x.request.headers, body: bodyOf(x.request) },
    reply: { status: x.response.status, headers: x.response.headers, body: bodyOf(x.response) },
    session: x.session,
    values: Object.fromEntries([...x._values].map(([name, data]) => [name, textOf(data)])),
    logs: x._logs.map(({ level, message }) => ({ level: { '-4': 'debug', 0: 'info', 4: 'warn', 8: 'error' }[level], message })),
    counters: x._counters.reduce((sum, { name, delta }) => ({ ...sum, [name]: (sum[name] ?? 0) + delta }), {}),
    changed: Object.keys(effects).filter((name) => !(Array.isArray(effects[name]) && effects[name].length === 0) && effects[name] !== undefined && effects[name] !== false),
  };
}

const bodyOf = (message) => (message._body ? message.text() : undefined);

module.exports = { run };
