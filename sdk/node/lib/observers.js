'use strict';

const { textOf } = require('./text');

const most = 16384; // records and events that wait for one observer
const outcomes = ['ok', 'answered', 'refused', 'failed', 'timeout', 'unavailable', 'overloaded', 'breaker', 'garbage', 'canceled', 'too_large', 'skipped'];

/** Hands batches to the plugin's observers, one at a time to each. What one cannot keep up with is dropped and counted. */
class Observers {
  constructor(plugin, log) {
    this._all = [...plugin.observers].map(([name, run]) => ({ name, run, records: [], events: [], dropped: 0, busy: false }));
    this._log = log;
  }

  /** Takes what a frame, or an event of Tyk's, brings. It does not wait. */
  offer({ records = [], events = [], dropped = 0, observers = [] }) {
    for (const one of this._all) {
      if (observers.length > 0 && !observers.includes(one.name)) continue;
      const room = Math.max(0, most - one.records.length - one.events.length);
      one.records.push(...records.slice(0, room));
      one.events.push(...events.slice(0, Math.max(0, room - records.length)));
      one.dropped += dropped + Math.max(0, records.length + events.length - room);
      this._run(one);
    }
  }

  has(name) {
    return this._all.some((one) => one.name === name);
  }

  async _run(one) {
    if (one.busy) return;
    one.busy = true;
    await null; // not in the way of the calls that came in the same frame
    while (one.records.length + one.events.length > 0 || one.dropped > 0) {
      const batch = { records: one.records.map(recordOf), events: one.events.map(eventOf), dropped: one.dropped };
      Object.assign(one, { records: [], events: [], dropped: 0 });
      try {
        await one.run(batch);
      } catch (thrown) {
        this._log(`observer ${one.name} failed: ${thrown instanceof Error ? thrown.stack : String(thrown)}`);
      }
    }
    one.busy = false;
  }
}

const seconds = (nanos) => (nanos ?? 0) / 1e9;

/** A record as observers are handed it: names as in the message, times in seconds, text as text. */
function recordOf(r) {
  const out = { time: seconds(r.time), duration: seconds(r.duration), upstream: seconds(r.upstream) };
  for (const name of ['request_id', 'traceparent', 'tracestate', 'route', 'route_name', 'org', 'client', 'target', 'answered_by', 'alias', 'key_hash', 'error']) out[name] = r[name] ?? '';
  for (const name of ['method', 'scheme', 'host', 'path', 'query', 'proto', 'user_agent']) out[name] = r[name] ? textOf(r[name]) : '';
  for (const name of ['status', 'request_size', 'reply_size']) out[name] = r[name] ?? 0;
  out.tags = r.tags;
  for (const name of ['header', 'reply_header']) out[name] = r[name].map((f) => [f.name ?? '', f.value ? textOf(f.value) : '']);
  out.header_cut = r.header_cut ?? false;
  out.hooks = r.hooks.map((h) => ({
    name: h.name ?? '', server: h.server ?? '', phase: ['', 'pre', 'auth', 'post_key_auth', 'post', 'response'][h.phase ?? 0] ?? '',
    outcome: outcomes[h.outcome ?? 0] ?? 'failed', duration: seconds(h.duration), error: h.error ?? '',
  }));
  return out;
}

function eventOf(e) {
  return {
    time: seconds(e.time), type: e.type ?? '', route: e.route ?? '', org: e.org ?? '', request_id: e.request_id ?? '', message: e.message ?? '',
    meta: Object.fromEntries(e.meta ?? []),
  };
}

module.exports = { Observers };
