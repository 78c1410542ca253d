'use strict';
// Tyk's protocol, PROTOCOL.md part 2: an Object is made a call of the native protocol, and what its hook changed is put where Tyk's
// gateway looks for it (2.7). What the hook left alone goes back as it came, fields that nobody here knows included.

const { isUtf8 } = require('node:buffer');
const { status } = require('@grpc/grpc-js');

const { codes, Refusal } = require('./errors');
const messages = require('./messages');
const { decode, encode } = require('./protobuf');
const { Run } = require('./run');
const { textOf, bytesOf } = require('./text');

const phaseOf = [0, 1, 4, 3, 2, 5]; // of hook types
const AUTH = 2, RESPONSE = 5;
const noBundle = 'd41d8cd98f00b204e9800998ecf8427e'; // the MD5 of nothing

/** Answers Dispatch. */
function dispatch(plugin, logger) {
  return (call, callback) => {
    let object;
    try {
      object = decode(messages.TykObject, call.request, true);
    } catch (error) {
      callback({ code: status.INVALID_ARGUMENT, details: `object: ${error.message}` });
      return;
    }
    const phase = phaseOf[object.hook_type ?? 0] ?? 0;
    const name = object.hook_name ?? '';
    const binding = { phase, hooks: [{ name }], route: routeOf(object.spec) };
    const run = new Run(plugin, binding, callOf(object));
    const done = () => {
      if (run.stopped) return;
      notes(run, logger, plugin.name, name);
      const failure = run.error && !(run.error instanceof Refusal) ? run.error : null;
      if (failure) callback({ code: failure.code === codes.UNIMPLEMENTED ? status.UNIMPLEMENTED : status.INTERNAL, details: `hook ${name}: ${failure.message}` });
      else callback(null, encode(messages.TykObject, changedObject(object, run, phase)));
    };
    call.on('cancelled', () => run.stop(codes.CANCELED, 'the gateway does not wait any more'));
    const waiting = run.start();
    if (waiting) waiting.then(done);
    else done();
  };
}

/** The protocol carries no log lines back. */
function notes(run, logger, plugin, hook) {
  for (const line of run.x._logs) logger(`${plugin} ${hook}: ${line.message}`);
}

function routeOf(spec) {
  const bundle = spec.get('bundle_hash') ?? '';
  return { id: spec.get('APIID'), org: spec.get('OrgID'), bundle: bundle === noBundle ? '' : bundle, config: bytesOf(spec.get('config_data')) };
}

/** The call of the native protocol that says the same. */
function callOf(object) {
  const r = object.request ?? { headers: new Map() };
  const [path, query] = split(r.url ?? '');
  const body = r.raw_body?.length > 0 ? r.raw_body : bytesOf(r.body);
  const lines = [...r.headers].filter(([name]) => name !== 'Host').map(([name, value]) => ({ name, value: bytesOf(value) }));
  const call = {
    id: 1, method: bytesOf(r.method), path: bytesOf(path), query: bytesOf(query), uri: bytesOf(r.request_uri), scheme: bytesOf(r.scheme), host: bytesOf(r.headers.get('Host')),
    headers: lines, body, length: body.length, values: [], peer_certificates: [], session: object.session,
    traceparent: r.headers.get('Traceparent'), tracestate: r.headers.get('Tracestate'),
  };
  const reply = object.response;
  if (reply) {
    const headers = reply.multivalue_headers.length > 0
      ? reply.multivalue_headers.flatMap((h) => h.values.map((v) => ({ name: h.key ?? '', value: bytesOf(v) })))
      : [...reply.headers].map(([name, value]) => ({ name, value: bytesOf(value) }));
    call.response = { status: reply.status_code, headers, body: reply.raw_body?.length > 0 ? reply.raw_body : bytesOf(reply.body) };
  }
  return call;
}

function split(target) {
  const at = target.indexOf('?');
  return at < 0 ? [target, ''] : [target.slice(0, at), target.slice(at + 1)];
}

/** The object with what the hook changed. */
function changedObject(object, run, phase) {
  const { x, effects, error: refused } = run;
  const r = (object.request ??= { headers: new Map(), set_headers: new Map(), delete_headers: [], add_params: new Map(), delete_params: [] });
  for (const name of new Set((effects.headers ?? []).map((op) => canonical(op.name)))) {
    const values = x.request.headers.getAll(name);
    if (values.length > 0) r.set_headers.set(name, joined(name, values));
    else r.delete_headers.push(name);
  }
  if (effects.path || effects.query) {
    const [, before] = split(r.url ?? '');
    r.url = x.request.target;
    paramChanges(r, before, x.request.query.raw);
  }
  if (effects.method) r.method = x.request.method;
  if (effects.body) {
    r.raw_body = effects.body;
    r.body = isUtf8(effects.body) ? effects.body.toString('utf8') : '';
  }
  if (phase === RESPONSE) object.response = responseOf(object.response, x.response, refused);
  else if (refused) r.return_overrides = { response_code: refused.status, response_error: refused.message, headers: joinedLines(refused.headers) };
  else if (effects.answer) r.return_overrides = overrides(effects.answer);
  if (phase === AUTH && effects.session?.key_id) identify(object, effects.session);
  return object;
}

/** Says which pairs of the query are others than before: of several values of a name the first can be carried. */
function paramChanges(r, before, after) {
  const was = new URLSearchParams(before), is = new URLSearchParams(after);
  for (const name of new Set(is.keys())) {
    const values = is.getAll(name);
    if (values.join('&') !== was.getAll(name).join('&') || !was.has(name)) r.add_params.set(name, values[0]);
  }
  for (const name of new Set(was.keys())) if (!is.has(name)) r.delete_params.push(name);
}

function overrides(answer) {
  const body = answer.body ?? Buffer.alloc(0);
  return { response_code: answer.status, headers: joinedLines(answer.headers), override_error: answer.status >= 400, response_body: body.toString('utf8') };
}

/** Only an auth hook says who calls, and by a token. */
function identify(object, session) {
  const metadata = new Map([...(session.metadata ?? []), ['token', session.key_id]]);
  object.session = { ...session, metadata };
  object.metadata.set('token', session.key_id);
}

/** The reply as it is now. Tyk's protocol cannot refuse here: the reply becomes what its error template would show. */
function responseOf(sent, reply, refused) {
  let { status: code, headers } = { status: reply.status, headers: reply.headers._fields() };
  let body = reply._body ?? Buffer.alloc(0);
  if (refused) {
    code = refused.status;
    headers = [{ name: 'Content-Type', value: Buffer.from('application/json') }, ...refused.headers];
    body = Buffer.from(JSON.stringify({ error: refused.message }, null, 4));
  }
  const names = new Map();
  for (const { name, value } of headers) {
    const key = canonical(name);
    if (!names.has(key)) names.set(key, []);
    names.get(key).push(textOf(value));
  }
  return {
    status_code: code, raw_body: body, body: isUtf8(body) ? body.toString('utf8') : '', headers: new Map([...names].map(([key, values]) => [key, values[0]])),
    multivalue_headers: [...names].map(([key, values]) => ({ key, values })), unknown: sent?.unknown,
  };
}

function joinedLines(fields) {
  const names = new Map();
  for (const { name, value } of fields) {
    const key = canonical(name);
    names.set(key, [...(names.get(key) ?? []), textOf(value)]);
  }
  return new Map([...names].map(([key, values]) => [key, joined(key, values)]));
}

const joined = (name, values) => values.join(name === 'Cookie' ? '; ' : ', ');

/** A header name as Go spells it: X-Request-Id. */
const canonical = (name) => name.toLowerCase().replace(/(^|-)[a-z]/g, (start) => start.toUpperCase());

/** Answers DispatchEvent: Tyk names the handler, the observer of that name gets the event, and all do when there is none. */
function dispatchEvent(observers) {
  return (call, callback) => {
    let event, handler;
    try {
      const payload = JSON.parse(decode(messages.TykEvent, call.request).payload ?? '');
      handler = payload.handler_name;
      event = eventOf(payload);
    } catch (error) {
      callback({ code: status.INVALID_ARGUMENT, details: `event: ${error.message}` });
      return;
    }
    observers.offer({ events: [event], observers: observers.has(handler) ? [handler] : [] });
    callback(null, Buffer.alloc(0));
  };
}

function eventOf({ message = {}, spec = {} }) {
  const meta = new Map(Object.entries(message.Meta ?? {}).map(([k, v]) => [k, typeof v === 'string' ? v : JSON.stringify(v)]));
  const time = Date.parse(String(message.TimeStamp ?? '').replace(/ ([+-]\d{2})(\d{2}).*$/, '$1:$2').replace(' ', 'T'));
  return { time: Number.isNaN(time) ? 0 : time * 1e6, type: message.Type ?? '', route: spec?.APIID ?? '', org: spec?.OrgID ?? '', message: meta.get('Message') ?? '', meta };
}

module.exports = { dispatch, dispatchEvent };
