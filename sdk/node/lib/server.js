'use strict';

const fs = require('node:fs');
const grpc = require('@grpc/grpc-js');

const { Health } = require('./health');
const { bind } = require('./listen');
const messages = require('./messages');
const { Observers } = require('./observers');
const { Plugin } = require('./plugin');
const { encode } = require('./protobuf');
const { Session } = require('./session');
const { dispatch, dispatchEvent } = require('./tyk');

const PLUGIN = 'turnbuckle.plugin.v1.Plugin', TYK = 'coprocess.Dispatcher', HEALTH = 'grpc.health.v1.Health';
const CONTROLLER = 'plugin.GRPCController', HOSTED = 'plugin'; // go-plugin's: how a host has the process end, and what it asks the health of

const defaults = {
  credit: 1024, // calls that a host may have outstanding on one stream
  maxMessage: 4 << 20, // bytes of a message, both ways
  drain: 10_000, // ms that calls may take to finish once the server stops
  handover: 1000, // of these, how long hosts may take to find a server that has taken the address over
  socketMode: 0o600,
  takeover: false,
  hosted: false, // a host started the process, and may stop it
  onStopped: () => {}, // told, once it has stopped, whether every call was answered
  logger: (line) => console.error(line),
};

/** A server of one plugin, in both protocols. */
class Server {
  constructor(plugin, options = {}) {
    this.plugin = plugin instanceof Plugin ? plugin : new Plugin(plugin);
    this.options = { ...defaults, ...options };
    const { credit, maxMessage, logger } = this.options;
    this._sessions = new Set();
    this._draining = false;
    this._observers = new Observers(this.plugin, logger);
    this._health = new Health(['', PLUGIN, TYK, ...(this.options.hosted ? [HOSTED] : [])]);
    this._grpc = new grpc.Server({ 'grpc.max_receive_message_length': maxMessage, 'grpc.max_send_message_length': maxMessage });
    const told = encode(messages.DescribeReply, this.plugin.describe(maxMessage));
    this._grpc.addService(service(PLUGIN, { Describe: [false, false], Session: [true, true] }), {
      Describe: (_, callback) => callback(null, told),
      Session: (stream) => {
        const session = new Session(stream, this.plugin, { credit, maxMessage, observers: this._observers, onEnd: (s) => this._left(s) });
        this._sessions.add(session);
        if (this._draining) session.drain();
      },
    });
    this._grpc.addService(service(TYK, { Dispatch: [false, false], DispatchEvent: [false, false] }), {
      Dispatch: dispatch(this.plugin, logger), DispatchEvent: dispatchEvent(this._observers),
    });
    if (this.options.hosted) this._grpc.addService(service(CONTROLLER, { Shutdown: [false, false] }), { Shutdown: (_, callback) => this._shutdown(callback) });
    this._grpc.addService(service(HEALTH, { Check: [false, false], Watch: [false, true] }), this._health.handlers);
  }

  /** Listens, and resolves with the address once calls are taken. */
  async listen(address) {
    const { tls, socketMode, takeover } = this.options;
    this._bound = await bind(this._grpc, address, tls ? tlsCredentials(tls) : grpc.ServerCredentials.createInsecure(), { mode: socketMode, takeover });
    // grpc-js 1.14 listens for no errors on streams of methods that it does not know: one whose connection ends would end the process.
    for (const http2 of this._grpc.http2Servers?.keys() ?? []) http2.on('stream', (stream) => stream.on('error', () => {}));
    return this._bound.address;
  }

  /**
   * Stops as PROTOCOL.md 1.7 has it: listens no more and sends GOAWAY; goes on answering; after a moment tells the hosts that are
   * left; and ends when they have, or at the bound. Resolves to whether every call was answered.
   */
  stop() {
    if (!this._stopping) {
      this._stopping = this._stop();
      this._stopping.then(this.options.onStopped);
    }
    return this._stopping;
  }

  /** The host's word. It is answered before the server stops, because a call under way would hold that up. */
  _shutdown(callback) {
    callback(null, Buffer.alloc(0));
    setImmediate(() => this.stop());
  }

  async _stop() {
    const { drain, handover } = this.options;
    const ended = new Promise((resolve) => this._grpc.tryShutdown(() => resolve(true)));
    this._bound?.remove();
    const timers = [];
    const after = (ms) => new Promise((resolve) => timers.push(setTimeout(resolve, ms, false)));
    const early = this._sessions.size > 0 ? await Promise.race([ended, this._noSessions(), after(Math.min(handover, drain / 2))]) : false;
    this._draining = true;
    this._health.drain();
    for (const session of this._sessions) session.drain();
    const well = early === true || (await Promise.race([ended, after(drain)]));
    timers.forEach(clearTimeout);
    if (!well) this._grpc.forceShutdown();
    return well;
  }

  /** Resolves when no stream of the native protocol is left: only watches of the health can be. */
  _noSessions() {
    return new Promise((resolve) => (this._whenNone = () => resolve(false)));
  }

  _left(session) {
    this._sessions.delete(session);
    if (this._sessions.size === 0) this._whenNone?.();
  }
}

/** A service whose messages are bytes: each is [client streams, server streams]. */
function service(name, methods) {
  const same = (bytes) => bytes;
  const made = {};
  for (const [method, [requestStream, responseStream]] of Object.entries(methods)) {
    made[method] = {
      path: `/${name}/${method}`, requestStream, responseStream, requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
    };
  }
  return made;
}

function tlsCredentials({ cert, key, clientCA }) {
  const read = (v) => (typeof v === 'string' && !v.includes('-----BEGIN') ? fs.readFileSync(v) : Buffer.from(v));
  return grpc.ServerCredentials.createSsl(clientCA ? read(clientCA) : null, [{ cert_chain: read(cert), private_key: read(key) }], Boolean(clientCA));
}

module.exports = { Server };
