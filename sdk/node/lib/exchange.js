'use strict';

const { X509Certificate, createHash } = require('node:crypto');

const { Refusal, Failure, codes, clip } = require('./errors');
const { Headers, pairsOf } = require('./headers');
const { Request, Response, changed } = require('./http');
const { sessionOf, messageOf } = require('./sessions');
const { textOf, bytesOf } = require('./text');

/** The phases by their numbers in the native protocol. */
const phases = [undefined, 'pre', 'auth', 'post_key_auth', 'post', 'response'];
const RESPONSE = 5;

const levels = { debug: -4, info: 0, warn: 4, error: 8 };
const most = 256; // log lines and counters of a reply that a host takes, each

/**
 * One request and its reply, as the hooks of one call see and change them. It notes what each hook changes; the runner merges
 * what those changed that ended well.
 */
class Exchange {
  /** call is a decoded Call, route a decoded Route; ctx, which the runner has, gives the signal. */
  constructor(phase, route, call, ctx) {
    this.phase = phases[phase];
    this.route = {
      id: route.id ?? '', name: route.name ?? '', org: route.org ?? '', listen_path: route.listen_path ?? '', bundle: route.bundle ?? '',
    };
    this.request_id = call.request_id ?? '';
    this.trace = { parent: call.traceparent ?? '', state: call.tracestate ?? '' };
    [this.client, this.client_port] = addressOf(call.client ?? '');
    this.request = new Request(this, call);
    this.response = new Response(this, call.response ?? { headers: [] });
    this._routeConfig = route.config;
    this._call = call;
    this._ctx = ctx;
    this._phase = phase;
    this._session = call.session ?? null;
    this._values = new Map(call.values.map((v) => [v.name ?? '', v.data ?? Buffer.alloc(0)]));
    this._logs = [];
    this._counters = [];
    this._answered = false;
    this._begin(0, undefined);
  }

  /** Prepares for a hook of the call, with its own configuration. */
  _begin(index, config) {
    this._index = index;
    this._rawConfig = config?.length > 0 ? config : this._routeConfig;
    this._config = undefined;
    this._changes = 0;
    this._invalid = null;
    this._newSession = undefined; // null: taken away
    this._newValues = new Map(); // null: taken away
    this._answer = false;
    this.request._begin();
    this.response._begin();
  }

  /** Notes a change that no HTTP message can carry: it makes the hook fail when it returns. */
  _refuse(message) {
    this._invalid ??= new Failure(codes.PROTOCOL, message);
  }

  /** The configuration of the hook, else of the route; null when there is none. */
  get config() {
    if (this._config === undefined) this._config = this._rawConfig?.length > 0 ? JSON.parse(textOf(this._rawConfig)) : null;
    return this._config;
  }

  /** Ends at the call's deadline, when the gateway cancels it, and when the stream ends. */
  get signal() {
    return this._ctx.signal;
  }

  /** Of the client's certificate; null without one. */
  get peer() {
    const der = this._call.peer_certificates[0];
    if (!der) return null;
    this._peer ??= peerOf(der);
    return this._peer;
  }

  /** Answers at once; in the response phase replaces the reply. The hook goes on, and x.response is the answer. */
  answer(status, headers, data) {
    this._answer = this._answered = true;
    this._changes |= changed.ANSWER;
    this.response._replace(status, pairsOf(headers), bytesOf(data));
  }

  /** Whether a hook has answered. */
  get answered() {
    return this._answered;
  }

  /** Ends the hook and the request with an error reply that the gateway makes, 400 to 599. It does not return. */
  refuse(status, message, headers) {
    const lines = new Headers([], (why) => this._refuse(why));
    for (const [name, value] of pairsOf(headers)) lines.add(name, value);
    if (!(Number.isInteger(status) && status >= 400 && status <= 599)) this._refuse(`refusal with status ${status}: want 400 to 599`);
    if (this._invalid) throw this._invalid;
    throw new Refusal(status, String(message ?? ''), lines._fields());
  }

  /** A copy of who calls; null when nobody. */
  get session() {
    return this._session && sessionOf(this._session);
  }

  /** Says who calls, all of it; null takes the identity away. */
  setSession(session) {
    this._session = this._newSession = session === null || session === undefined ? null : messageOf(session);
    this._changes |= changed.SESSION;
  }

  /** setSession with a key and nothing else. */
  authenticate(key, alias = '') {
    this.setSession({ key_id: String(key), alias: String(alias) });
  }

  /** What an earlier hook left, as a JSON value; undefined when nothing. */
  value(name) {
    const raw = this._values.get(name);
    return raw && JSON.parse(textOf(raw));
  }

  /** Leaves a JSON value for later hooks; undefined takes it away. */
  setValue(name, value) {
    this._leave(name, value === undefined ? null : bytesOf(JSON.stringify(value)));
  }

  /** A value as it travels, whether JSON or not, as text. */
  rawValue(name) {
    const raw = this._values.get(name);
    return raw && textOf(raw);
  }

  setRawValue(name, data) {
    this._leave(name, data === undefined || data === null ? null : bytesOf(data));
  }

  _leave(name, bytes) {
    name = String(name);
    if (bytes) this._values.set(name, bytes);
    else this._values.delete(name);
    this._newValues.set(name, bytes);
    this._changes |= changed.VALUES;
  }

  /** Writes to the gateway's log under the hook's name. */
  log(level, message) {
    if (!Object.hasOwn(levels, level)) throw new TypeError(`level ${JSON.stringify(level)}: want debug, info, warn or error`);
    if (this._logs.length >= most) return;
    const text = typeof message === 'string' ? message : message instanceof Error ? String(message.stack) : JSON.stringify(message);
    this._logs.push({ hook: this._index, level: levels[level], message: clip(String(text)) });
  }

  /** Adds to a counter of the hook's own. */
  count(name, delta = 1) {
    if (!Number.isSafeInteger(delta)) throw new TypeError('a counter grows by whole numbers');
    if (this._counters.length < most) this._counters.push({ hook: this._index, name: String(name), delta });
  }

  /** Adds what the hook that ended well has changed to the effects of the call, and returns the bits of what it changed. */
  _merge(effects) {
    this.request._merge(effects);
    if (this._newSession !== undefined) {
      effects.session = this._newSession ?? undefined;
      effects.clear_session = this._newSession === null;
    }
    for (const [name, data] of this._newValues) {
      effects.values = (effects.values ?? []).filter((v) => v.name !== name);
      effects.values.push({ name, data: data ?? undefined });
    }
    this.response._merge(effects, this._answer);
    return this._changes | this.request._bits() | this.response._bits();
  }
}

function addressOf(text) {
  const at = text.lastIndexOf(':');
  if (at < 0) return [text, 0];
  return [text.slice(0, at).replace(/^\[|\]$/g, ''), Number(text.slice(at + 1)) || 0];
}

function peerOf(der) {
  const c = new X509Certificate(der);
  const names = (c.subjectAltName ?? '').split(', ').filter((n) => n.startsWith('DNS:')).map((n) => n.slice(4));
  const seconds = (date) => Math.floor(Date.parse(date) / 1000);
  return {
    subject: c.subject, issuer: c.issuer, serial: c.serialNumber, dns_names: names, not_before: seconds(c.validFrom), not_after: seconds(c.validTo),
    sha256: createHash('sha256').update(der).digest('hex'),
  };
}

module.exports = { Exchange, phases, RESPONSE };
