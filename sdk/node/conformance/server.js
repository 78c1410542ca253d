'use strict';
// The hooks of proto/CONFORMANCE.md: what `turnbuckle plugin conform` calls.

const { setTimeout: sleep } = require('node:timers/promises');

const { serve } = require('..');

const seen = { records: [], events: [] };
const base64 = (data) => Buffer.from(data).toString('base64');

/** Text that may hold bytes that are no UTF-8, as those bytes. */
const { bytesOf } = require('../lib/text');

const valueOf = (step) => (step.value64 === undefined ? (step.value ?? '') : Buffer.from(step.value64, 'base64'));
const message = (x, step) => (step.of === 'response' ? x.response : x.request);
const linesOf = (headers) => headers.entries().map(([name, value]) => [name, base64(bytesOf(value))]);

const steps = {
  set_header: (x, s) => message(x, s).headers.set(s.name, valueOf(s)),
  add_header: (x, s) => message(x, s).headers.add(s.name, valueOf(s)),
  del_header: (x, s) => message(x, s).headers.del(s.name),
  set_method: (x, s) => (x.request.method = s.value),
  set_path: (x, s) => (x.request.path = s.value),
  set_query: (x, s) => (x.request.query.raw = s.value ?? ''),
  set_param: (x, s) => x.request.query.set(s.name, s.value ?? ''),
  add_param: (x, s) => x.request.query.add(s.name, s.value ?? ''),
  del_param: (x, s) => x.request.query.del(s.name),
  set_body(x, s) {
    const once = bytesOf(valueOf(s));
    message(x, s).setBody(Buffer.alloc(once.length * (s.repeat ?? 1), once));
  },
  set_status: (x, s) => (x.response.status = s.status),
  answer: (x, s) => x.answer(s.status, s.headers, valueOf(s)),
  refuse: (x, s) => x.refuse(s.status, s.message, s.headers),
  authenticate: (x, s) => x.authenticate(s.key, s.alias),
  set_session(x, s) {
    const { metadata, ...rest } = s.session;
    x.setSession({ ...rest, meta_data: metadata });
  },
  clear_session: (x) => x.setSession(null),
  set_value: (x, s) => x.setRawValue(s.name, valueOf(s)),
  del_value: (x, s) => x.setRawValue(s.name, undefined),
  log: (x, s) => x.log(s.level, s.message),
  count: (x, s) => x.count(s.name, s.delta),
  sleep: (x, s) => sleep(s.ms, undefined, { signal: x.signal }),
  fail(_, s) {
    throw new Error(s.message);
  },
  crash(_, s) {
    throw s.message; // eslint-disable-line no-throw-literal -- what nobody expects
  },
  report(x, s) {
    const session = x.session;
    const { client, client_port, request_id, route, trace, phase } = x;
    const { method, path, uri, scheme, host, proto, length } = x.request;
    const body = (of) => (of._body ? base64(of.bytes()) : null);
    x.answer(200, { 'Content-Type': 'application/json' }, JSON.stringify({
      phase, method, path, query: x.request.query.raw, uri, scheme, host, proto, client, client_port, request_id, headers: linesOf(x.request.headers), length,
      body: body(x.request), param_q: x.request.query.getAll('q'), route, note: x.config.note ?? null, trace, peer: x.peer?.sha256 ?? null,
      session: session && {
        key_id: session.key_id, alias: session.alias, org_id: session.org_id, rate: session.rate, quota_max: session.quota_max, tags: session.tags, metadata: session.meta_data,
      },
      values: Object.fromEntries((s.values ?? []).map((name) => [name, x.rawValue(name) === undefined ? null : base64(bytesOf(x.rawValue(name)))])),
      response: x.response.status ? { status: x.response.status, headers: linesOf(x.response.headers), body: body(x.response) } : null,
      observed: seen,
    }));
  },
};

function conform(x) {
  const list = x.config?.steps ?? [];
  const from = (i) => { // goes on without waiting where a step does not wait
    for (; i < list.length; i++) {
      const step = list[i];
      if (!Object.hasOwn(steps, step.do)) throw new Error(`unknown step ${JSON.stringify(step.do)}`);
      const waiting = steps[step.do](x, step);
      if (step.do === 'sleep') return waiting.then(() => from(i + 1));
    }
  };
  return from(0);
}

const pick = (which) => (x) => x.request.headers.set('X-Picked', which);

const plugin = {
  name: 'conformance',
  version: '1.0.0',
  hooks: {
    Conform: { needs: ['default', 'body', 'response_body', 'peer'], handle: conform },
    ConformNarrow: { phase: 'pre', needs: ['headers'], headers: ['X-One'], body_limit: 1024, handle: conform },
    ConformPick: [{ phase: 'post', handle: pick('post') }, { handle: pick('any') }],
  },
  observers: {
    ConformWatch({ records, events }) {
      seen.records = [...seen.records, ...records.map((r) => r.request_id)].slice(-100);
      seen.events = [...seen.events, ...events.map((e) => e.type)].slice(-100);
    },
  },
};

if (require.main === module) serve(plugin);

module.exports = { plugin };
