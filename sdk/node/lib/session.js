'use strict';

const { performance } = require('node:perf_hooks');
const { status } = require('@grpc/grpc-js');

const { codes } = require('./errors');
const messages = require('./messages');
const { decode, encode } = require('./protobuf');
const { Run } = require('./run');

const maxBindings = 65536;
const maxFields = 16384;
const frameFull = 256 << 10; // a frame of this size is sent, and the next begun
const overhead = 64; // what a frame says beside its replies, at most
const day = 86400e3;

/**
 * One stream of the native protocol. Calls run as they come. What is finished is sent when the event loop comes round, with the
 * acknowledgement: calls that finish at once share a frame with it, and one that waits holds nobody.
 */
class Session {
  constructor(stream, plugin, { credit, maxMessage, observers, onEnd }) {
    this.stream = stream;
    this.plugin = plugin;
    this.credit = credit;
    this.maxReply = maxMessage - overhead;
    this.observers = observers;
    this.onEnd = onEnd;
    this.bindings = new Map();
    this.calls = new Map(); // outstanding, by id
    this.running = 0; // hooks that have not returned, those of stopped calls too
    this.replies = []; // encoded, not yet sent
    this.received = this.acked = 0;
    this.granted = false;
    this.drainTold = this.drainWanted = false;
    this.over = false; // no call will come
    this.ended = false;
    stream.on('data', (bytes) => this._frame(bytes));
    stream.on('end', () => {
      this.over = true;
      this._later();
    });
    stream.on('drain', () => this._later());
    stream.on('cancelled', () => this._abandon());
    stream.on('close', () => this._abandon());
    stream.on('error', () => this._abandon());
    this._flush(); // grants credit
  }

  /** Asks the host to send no more. */
  drain() {
    this.drainWanted = true;
    this._later();
  }

  _frame(bytes) {
    if (this.ended) return;
    const arrived = performance.now();
    let frame;
    try {
      frame = decode(messages.HostFrame, bytes);
    } catch (error) {
      this._fail(status.INVALID_ARGUMENT, `frame after ${this.received}: ${error.message}`);
      return;
    }
    for (const binding of frame.bindings) {
      const id = binding.id ?? 0;
      if (this.bindings.size >= maxBindings && !this.bindings.has(id)) {
        this._fail(status.RESOURCE_EXHAUSTED, `more than ${maxBindings} bindings on one stream`);
        return;
      }
      this.bindings.set(id, binding);
    }
    this.received = Math.max(this.received, frame.seq ?? 0);
    for (const call of frame.calls) this._call(call, arrived);
    for (const id of frame.cancels) this._stop(id, codes.CANCELED, 'the host cancelled the call');
    if (frame.records.length + frame.events.length > 0 || frame.dropped) this.observers.offer(frame);
    this.over ||= frame.drain ?? false;
    this._later();
  }

  _call(call, arrived) {
    const refuse = (code, message) => this._reply({ id: call.id, failure: { code, message } });
    const binding = this.bindings.get(call.binding ?? 0);
    if (!call.id) return this._fail(status.INVALID_ARGUMENT, 'a call without id');
    if (!binding) return refuse(codes.PROTOCOL, `binding ${call.binding} was not sent on this stream`);
    if (binding.hooks.length === 0) return refuse(codes.PROTOCOL, `binding ${binding.id} names no hook`);
    if (call.headers.length > maxFields || call.response?.headers.length > maxFields) return refuse(codes.PROTOCOL, `more than ${maxFields} header lines`);
    if (this.calls.size >= this.credit) return refuse(codes.OVERLOADED, `more than ${this.credit} calls outstanding on the stream`);
    if (this.running >= 4 * this.credit) return refuse(codes.OVERLOADED, `${this.running} hooks have not returned, of calls that nobody waits for`);
    const run = new Run(this.plugin, binding, call);
    run.arrived = arrived;
    this.calls.set(run.id, run);
    run.queued = Math.round((performance.now() - arrived) * 1000);
    const waiting = run.start();
    if (!waiting) return this._done(run);
    this.running++;
    waiting.then(() => {
      this.running--;
      if (!run.stopped) this._done(run);
    });
    if (call.timeout_us > 0) {
      const left = Math.min(call.timeout_us / 1000, day) - (performance.now() - arrived);
      run.timer = setTimeout(() => this._stop(run.id, codes.TIMEOUT, 'the deadline passed'), Math.max(0, left));
    }
  }

  _done(run) {
    clearTimeout(run.timer);
    this.calls.delete(run.id);
    this._reply(run.reply(run.queued));
  }

  _stop(id, code, message) {
    const run = this.calls.get(id);
    if (!run) return; // it has been answered meanwhile
    run.stop(code, message);
    this._done(run);
  }

  _reply(reply) {
    if (this.ended) return;
    let bytes = encode(messages.Reply, reply);
    if (bytes.length > this.maxReply) {
      const outcomes = reply.outcomes?.map((o) => ({ ...o, changed: 0 }));
      bytes = encode(messages.Reply, { id: reply.id, outcomes, failure: { code: codes.FAILED, message: `a reply of ${bytes.length} bytes, the server sends ${this.maxReply} at most` } });
    }
    this.replies.push(bytes);
    this._later();
  }

  _later() {
    if (this.scheduled || this.ended) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      this._flush();
    });
  }

  _flush() {
    while (!this.ended && this._dirty()) {
      const frame = { replies: [] };
      let size = 0;
      while (this.replies.length > 0 && (size === 0 || size + this.replies[0].length <= frameFull)) {
        size += this.replies[0].length + 8;
        frame.replies.push(this.replies.shift());
      }
      if (!this.granted) frame.credit = this.credit;
      else if (this.received > this.acked) frame.ack = this.acked = this.received;
      if (this.drainWanted && !this.drainTold) frame.drain = this.drainTold = true;
      this.granted = true;
      if (!this.stream.write(encode(messages.PluginFrame, frame))) break; // goes on at drain
    }
    if (this.over && !this.ended && this.calls.size === 0 && this.replies.length === 0 && !this._dirty()) {
      this._over();
      this.stream.end();
    }
  }

  _dirty() {
    return !this.granted || this.replies.length > 0 || this.received > this.acked || (this.drainWanted && !this.drainTold);
  }

  _fail(code, details) {
    if (this.ended) return;
    this._over();
    this.stream.emit('error', { code, details });
  }

  /** The stream is gone: nobody hears what still runs. */
  _abandon() {
    if (this.ended) return;
    this._over();
    for (const run of this.calls.values()) {
      clearTimeout(run.timer);
      run.stop(codes.CANCELED, 'the stream ended');
    }
    this.calls.clear();
  }

  _over() {
    this.ended = true;
    this.onEnd(this);
  }
}

module.exports = { Session };
