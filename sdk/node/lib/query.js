'use strict';

const { textOf, bytesOf } = require('./text');

/** The query of a request: pairs in order. Pairs that nobody changes keep their bytes, whatever escapes they use. */
class Query {
  constructor(raw, refuse) {
    this._raw = raw;
    this._refuse = refuse;
    this._pairs = null;
    this._edited = false;
  }

  /** What stands behind the "?", to read and to assign. */
  get raw() {
    return this._raw;
  }

  set raw(text) {
    text = String(text);
    if (/[\0-\x20\x7f#]/.test(text)) {
      this._refuse(`query ${JSON.stringify(text)}: want no blanks, control characters or #`);
      return;
    }
    this._raw = text;
    this._pairs = null;
    this._edited = true;
  }

  get(name) {
    return this._all().find((p) => p.name === String(name))?.value;
  }

  getAll(name) {
    return this._all().filter((p) => p.name === String(name)).map((p) => p.value);
  }

  has(name) {
    return this._all().some((p) => p.name === String(name));
  }

  set(name, value) {
    const values = (Array.isArray(value) ? value : [value]).map(String);
    name = String(name);
    const all = this._all();
    const at = all.findIndex((p) => p.name === name);
    const made = values.map((v) => pair(name, v));
    if (at < 0) return this._keep([...all, ...made]);
    const rest = all.slice(at).filter((p) => p.name !== name);
    this._keep([...all.slice(0, at), ...made.slice(0, 1), ...rest, ...made.slice(1)]);
  }

  add(name, value) {
    this._keep([...this._all(), pair(String(name), String(value))]);
  }

  del(name) {
    const left = this._all().filter((p) => p.name !== String(name));
    if (left.length !== this._all().length) this._keep(left);
  }

  entries() {
    return this._all().map((p) => [p.name, p.value]);
  }

  [Symbol.iterator]() {
    return this.entries()[Symbol.iterator]();
  }

  _all() {
    this._pairs ??= this._raw.split('&').filter((part) => part !== '').map((raw) => {
      const at = raw.indexOf('=');
      return { name: unescape(at < 0 ? raw : raw.slice(0, at)), value: unescape(at < 0 ? '' : raw.slice(at + 1)), raw };
    });
    return this._pairs;
  }

  _keep(pairs) {
    this._pairs = pairs;
    this._raw = pairs.map((p) => p.raw).join('&');
    this._edited = true;
  }
}

const pair = (name, value) => ({ name, value, raw: `${escape(name)}=${escape(value)}` });

/** Undoes escapes; text whose escapes are broken stays as it is. */
function unescape(text) {
  if (!/[%+]/.test(text)) return text;
  if (/%(?![0-9a-fA-F]{2})/.test(text)) return text;
  const bytes = bytesOf(text.replace(/\+/g, ' '));
  const out = Buffer.alloc(bytes.length);
  let n = 0;
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] === 0x25) {
      out[n++] = parseInt(bytes.toString('latin1', i + 1, i + 3), 16);
      i += 2;
    } else out[n++] = bytes[i];
  }
  return textOf(out.subarray(0, n));
}

/** Escapes as forms do: a blank becomes a plus. */
function escape(text) {
  let out = '';
  for (const b of bytesOf(text)) {
    const c = String.fromCharCode(b);
    out += /[A-Za-z0-9\-_.~]/.test(c) ? c : b === 0x20 ? '+' : '%' + b.toString(16).toUpperCase().padStart(2, '0');
  }
  return out;
}

module.exports = { Query };
