'use strict';

const { phases } = require('./exchange');

const needs = ['headers', 'query', 'body', 'response_headers', 'response_body', 'session', 'values', 'peer', 'trace', 'nothing'];
const defaultNeeds = 1 | 2 | 8 | 32 | 64 | 256;

/** A plugin as it is served: its hooks by name and phase, its observers. Throws what makes the definition unusable. */
class Plugin {
  constructor({ name, version = '0.0.0', hooks = {}, observers = {}, config_schema: schema } = {}) {
    if (typeof name !== 'string' || name === '') throw new TypeError('a plugin has a name');
    this.name = name;
    this.version = String(version);
    this.configSchema = schema === undefined ? undefined : Buffer.from(typeof schema === 'string' ? schema : JSON.stringify(schema));
    this.hooks = [];
    this._found = new Map();
    for (const [hook, spec] of Object.entries(hooks)) {
      for (const one of Array.isArray(spec) ? spec : [spec]) this._add(hook, one);
    }
    this.observers = new Map(Object.entries(observers));
    for (const [observer, run] of this.observers) {
      if (typeof run !== 'function') throw new TypeError(`plugin ${name}: observer ${observer} is no function`);
    }
  }

  /** The plugin of a module in the form of the gateway's scripts: exports.pre, exports.Name, exports.hooks, exports.observers. */
  static of(module, about = {}) {
    const hooks = {};
    for (const [name, run] of Object.entries(module)) {
      if (typeof run !== 'function' || name.startsWith('_')) continue;
      const { headers, ...more } = module.hooks?.[name] ?? {};
      hooks[name] = { ...more, headers, handle: run };
    }
    return new Plugin({ version: module.version, observers: module.observers, config_schema: module.config_schema, ...about, hooks });
  }

  _add(name, spec) {
    if (typeof spec === 'function') spec = { handle: spec };
    const where = `plugin ${this.name}: hook ${name}`;
    if (typeof spec?.handle !== 'function') throw new TypeError(`${where} is no function and has no handle`);
    const named = spec.phase ?? (phases.includes(name) ? name : undefined); // pre, auth, … are for the phase of their name
    const phase = named === undefined ? 0 : phases.indexOf(named);
    if (phase < 0) throw new TypeError(`${where}: unknown phase ${JSON.stringify(named)}`);
    let fields = 0;
    for (const need of spec.needs ?? ['default']) {
      if (need === 'default') fields |= defaultNeeds;
      else if (needs.includes(need)) fields |= 1 << needs.indexOf(need);
      else throw new TypeError(`${where}: unknown need ${JSON.stringify(need)}`);
    }
    if (spec.needs?.length === 0) fields = 1 << needs.indexOf('nothing');
    if (this._found.has(`${name} ${phase}`)) throw new TypeError(`${where} is there twice for phase ${named ?? 'any'}`);
    const made = { name, phase, handle: spec.handle, needs: { fields, header_names: spec.headers ?? [], body_limit: spec.body_limit ?? 0 } };
    this.hooks.push(made);
    this._found.set(`${name} ${phase}`, made);
  }

  /** The hook of that name in that phase, by its number. */
  find(name, phase) {
    return this._found.get(`${name} ${phase}`) ?? this._found.get(`${name} 0`);
  }

  /** What Describe replies. */
  describe(frameBytes) {
    return {
      name: this.name, version: this.version, minor: 0, config_schema: this.configSchema, observers: [...this.observers.keys()], limits: { frame_bytes: frameBytes },
      hooks: this.hooks.map(({ name, phase, needs }) => ({ name, phase, needs })),
    };
  }
}

module.exports = { Plugin };
