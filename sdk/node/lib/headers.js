'use strict';

const { textOf, bytesOf } = require('./text');

const SET = 1, ADD = 2, DEL = 3;
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const control = /[\0-\x08\x0a-\x1f\x7f]/;

/** Header lines in order. Names compare without case; values are text, see text.js. Changes are noted for the gateway. */
class Headers {
  /** lines are {name, value} with bytes; refuse is told of a change that no message can carry. */
  constructor(lines, refuse) {
    this._lines = lines.map((l) => ({ name: l.name ?? '', key: (l.name ?? '').toLowerCase(), value: l.value ?? Buffer.alloc(0) }));
    this._refuse = refuse;
    this._ops = [];
  }

  /** The first value, or undefined. */
  get(name) {
    const key = String(name).toLowerCase();
    const line = this._lines.find((l) => l.key === key);
    return line && text(line);
  }

  /** All values in order. */
  getAll(name) {
    const key = String(name).toLowerCase();
    return this._lines.filter((l) => l.key === key).map(text);
  }

  has(name) {
    const key = String(name).toLowerCase();
    return this._lines.some((l) => l.key === key);
  }

  /** Replaces all values by one, or by those of a list. */
  set(name, value) {
    if (!Array.isArray(value)) return this._set(name, value);
    if (value.length === 0) return this.del(name);
    if (value.every((v) => this._line(name, v))) {
      this._set(name, value[0]);
      for (const v of value.slice(1)) this.add(name, v);
    }
  }

  _set(name, value) {
    const made = this._line(name, value);
    if (!made) return;
    this._ops.push({ kind: SET, name: made.name, value: made.value });
    const at = this._lines.findIndex((l) => l.key === made.key);
    if (at < 0) this._lines.push(made);
    else this._lines = this._lines.filter((l, i) => i <= at || l.key !== made.key).map((l, i) => (i === at ? made : l));
  }

  /** Appends a value. */
  add(name, value) {
    const made = this._line(name, value);
    if (!made) return;
    this._ops.push({ kind: ADD, name: made.name, value: made.value });
    this._lines.push(made);
  }

  /** Removes all values. */
  del(name) {
    const key = String(name).toLowerCase();
    if (!token.test(key)) return this._refuse(`header name ${JSON.stringify(name)}: want a token (RFC 9110 5.6.2)`);
    this._ops.push({ kind: DEL, name: String(name), value: Buffer.alloc(0) });
    this._lines = this._lines.filter((l) => l.key !== key);
  }

  /** [name, value] of each line, spelled as it came. */
  entries() {
    return this._lines.map((l) => [l.name, text(l)]);
  }

  [Symbol.iterator]() {
    return this.entries()[Symbol.iterator]();
  }

  _line(name, value) {
    name = String(name);
    const spelled = typeof value === 'string' ? value : ArrayBuffer.isView(value) ? value : String(value);
    if (!token.test(name)) return this._refuse(`header name ${JSON.stringify(name)}: want a token (RFC 9110 5.6.2)`);
    const bytes = bytesOf(spelled);
    if (control.test(bytes.toString('latin1'))) return this._refuse(`value of header ${name}: want no control characters (RFC 9110 5.5)`);
    return { name, key: name.toLowerCase(), value: bytes };
  }

  /** The changes so far, which are then none. */
  _take() {
    const ops = this._ops;
    this._ops = [];
    return ops;
  }

  _fields() {
    return this._lines.map((l) => ({ name: l.name, value: l.value }));
  }
}

function text(line) {
  line.text ??= textOf(line.value);
  return line.text;
}

/** Lines of an object of values or lists of values, of a list of pairs, or of nothing. */
function pairsOf(headers) {
  if (headers === undefined || headers === null) return [];
  const pairs = typeof headers[Symbol.iterator] === 'function' ? [...headers] : Object.entries(headers);
  return pairs.flatMap(([name, value]) => (Array.isArray(value) ? value.map((v) => [name, v]) : [[name, value]]));
}

const validToken = (text) => token.test(text);

module.exports = { Headers, pairsOf, validToken };
