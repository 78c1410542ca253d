'use strict';

const { performance } = require('node:perf_hooks');

const { Refusal, Failure, codes, failureOf } = require('./errors');
const { Exchange, RESPONSE } = require('./exchange');

/** What a call of hooks may be told: that nobody waits for it any more. The signal is made when somebody asks for it. */
class Context {
  get signal() {
    this._controller ??= new AbortController();
    if (this._reason && !this._controller.signal.aborted) this._controller.abort(this._reason);
    return this._controller.signal;
  }

  /** Ends it. */
  end(reason) {
    this._reason ??= reason;
    this._controller?.abort(this._reason);
  }
}

/** A call of the hooks of a binding, under way or done. result says how it stands at any moment. */
class Run {
  constructor(plugin, binding, call) {
    this.plugin = plugin;
    this.binding = binding;
    this.id = call.id ?? 0;
    this.context = new Context();
    this.x = new Exchange(binding.phase ?? 0, binding.route ?? {}, call, this.context);
    this.effects = {};
    this.outcomes = [];
    this.index = 0;
    this.began = 0;
    this.error = null; // a Refusal or a Failure
  }

  /** Runs the hooks. It does not throw. Without a hook that waits, it is done when it returns. */
  start() {
    for (; this.index < this.binding.hooks.length; this.index++) {
      const use = this.binding.hooks[this.index];
      const spec = this.plugin.find(use.name ?? '', this.binding.phase ?? 0);
      this.began = performance.now();
      this.x._begin(this.index, use.config);
      if (!spec) return this._failed(new Failure(codes.UNIMPLEMENTED, `plugin ${this.plugin.name} has no hook ${use.name} in phase ${this.x.phase}`));
      let waiting;
      try {
        waiting = spec.handle(this.x);
      } catch (thrown) {
        return this._failed(thrown);
      }
      if (typeof waiting?.then === 'function') return this._rest(waiting);
      if (!this._ended()) return;
    }
  }

  async _rest(waiting) {
    try {
      await waiting;
    } catch (thrown) {
      return this._failed(thrown);
    }
    if (!this._ended()) return;
    this.index++;
    return this.start();
  }

  /** Takes what a hook did that returned, and reports whether the next one is to run. */
  _ended() {
    if (this.stopped) return false;
    if (this.x._invalid) {
      this._failed(this.x._invalid);
      return false;
    }
    const changed = this.x._merge(this.effects);
    this.outcomes.push({ hook: this.index, duration_us: this._took(), changed });
    return !(this.x._answered && this.binding.phase !== RESPONSE);
  }

  _failed(thrown) {
    if (this.stopped) return;
    this.error = thrown instanceof Refusal ? thrown : failureOf(thrown);
    this.outcomes.push({ hook: this.index, duration_us: this._took(), changed: 0 });
  }

  _took() {
    return Math.round((performance.now() - this.began) * 1000);
  }

  /** Ends it from outside: what the hook does from here on, nobody hears. */
  stop(code, message) {
    this._failed(new Failure(code, message));
    this.stopped = true;
    this.context.end(this.error);
  }

  /** The reply. */
  reply(queued) {
    const made = { id: this.id, outcomes: this.outcomes, logs: [...this.x._logs], counters: [...this.x._counters], queued_us: queued };
    if (Object.keys(this.effects).length > 0) made.effects = this.effects;
    if (this.error instanceof Refusal) made.error = { status: this.error.status, message: this.error.message, headers: this.error.headers };
    else if (this.error) made.failure = { code: this.error.code, message: this.error.message };
    return made;
  }
}

module.exports = { Run };
