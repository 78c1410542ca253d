'use strict';

const { status } = require('@grpc/grpc-js');

const messages = require('./messages');
const { decode, encode } = require('./protobuf');

const SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3;

/** grpc.health.v1 for a server that serves until it drains. */
class Health {
  constructor(services) {
    this._known = new Set(services);
    this._draining = false;
    this._watches = new Set();
  }

  /** Tells everybody that the server takes no more calls, and sends those who watch away. */
  drain() {
    this._draining = true;
    for (const watch of this._watches) this._away(watch);
  }

  /** The handlers of the service. */
  get handlers() {
    return { Check: (call, callback) => this._check(call, callback), Watch: (call) => this._watch(call) };
  }

  _status(service) {
    return this._known.has(service) ? (this._draining ? NOT_SERVING : SERVING) : SERVICE_UNKNOWN;
  }

  _check(call, callback) {
    const service = serviceOf(call.request);
    if (!this._known.has(service)) callback({ code: status.NOT_FOUND, details: `unknown service ${JSON.stringify(service)}` });
    else callback(null, reply(this._status(service)));
  }

  _watch(call) {
    call.write(reply(this._status(serviceOf(call.request))));
    if (this._draining) return this._away(call);
    this._watches.add(call);
    for (const end of ['cancelled', 'close', 'error']) call.on(end, () => this._watches.delete(call));
  }

  _away(watch) {
    this._watches.delete(watch);
    if (this._known.has(serviceOf(watch.request))) watch.write(reply(NOT_SERVING));
    watch.emit('error', { code: status.UNAVAILABLE, details: 'the server drains' });
  }
}

const reply = (now) => encode(messages.HealthReply, { status: now });

function serviceOf(bytes) {
  try {
    return decode(messages.HealthRequest, bytes).service ?? '';
  } catch {
    return '\0'; // nobody's name
  }
}

module.exports = { Health };
