'use strict';
// Protobuf from tables. It is our own because PROTOCOL.md asks for what libraries do not promise: known numbers with another wire
// type are ignored, unknown fields are kept where they must come back, and bytes are the frame's own and not copied.
//
// A table maps a field's number to [name, type, options]. Types: uint (also enums), int, sint, bool, double, bytes, string, a table
// (a message), and map tables. Options: 'list', 'map', 'optional' (present also when empty).

const { plain } = require('./text');

class Malformed extends Error {}

const VARINT = 0, FIXED64 = 1, BYTES = 2, START = 3, END = 4, FIXED32 = 5;

const wireTypes = { uint: VARINT, int: VARINT, sint: VARINT, bool: VARINT, double: FIXED64, bytes: BYTES, string: BYTES };

/** A message's table. */
function table(fields) {
  const byNumber = new Map();
  for (const [number, [name, type, option]] of Object.entries(fields)) {
    const wire = typeof type === 'string' ? wireTypes[type] : BYTES;
    byNumber.set(Number(number), { number: Number(number), name, type, wire, list: option === 'list', map: option === 'map', optional: option === 'optional' });
  }
  return { byNumber, all: [...byNumber.values()] };
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  /** A varint as a number; above 2^53 it loses its low bits, which no number of the protocols has use for. */
  varint() {
    let low = 0, high = 0;
    for (let i = 0; i < 10; i++) {
      if (this.at >= this.bytes.length) throw new Malformed('a number is cut off');
      const b = this.bytes[this.at++];
      if (i < 4) low |= (b & 0x7f) << (7 * i);
      else if (i === 4) {
        low |= (b & 0x0f) << 28;
        high = (b & 0x7f) >> 4;
      } else high |= (b & 0x7f) << (7 * i - 32);
      if (b < 0x80) {
        this.low = low >>> 0;
        this.high = high >>> 0;
        return this.high * 4294967296 + this.low;
      }
    }
    throw new Malformed('a number has more than ten bytes');
  }

  chunk() {
    const n = this.varint();
    if (n > this.bytes.length - this.at) throw new Malformed('a field is longer than its message');
    this.at += n;
    return this.bytes.subarray(this.at - n, this.at);
  }

  skip(wire, number, depth = 0) {
    if (depth > 64) throw new Malformed('groups are nested too deeply');
    switch (wire) {
      case VARINT: this.varint(); break;
      case FIXED64: this.at += 8; break;
      case BYTES: this.chunk(); break;
      case FIXED32: this.at += 4; break;
      case START:
        for (;;) {
          const key = this.varint();
          if ((key & 7) === END) {
            if (Math.floor(key / 8) !== number) throw new Malformed('a group ends that did not begin');
            break;
          }
          this.skip(key & 7, Math.floor(key / 8), depth + 1);
        }
        break;
      default: throw new Malformed(`unknown wire type ${wire}`);
    }
    if (this.at > this.bytes.length) throw new Malformed('a field is cut off');
  }

  signed(zigzag) {
    this.varint();
    let v = (BigInt(this.high) << 32n) | BigInt(this.low);
    v = zigzag ? (v >> 1n) ^ -(v & 1n) : BigInt.asIntN(64, v);
    return Number(v);
  }

  value(type) {
    switch (type) {
      case 'uint': return this.varint();
      case 'int': {
        const v = this.varint();
        return v < 9007199254740992 ? v : ((this.at = this.before), this.signed(false));
      }
      case 'sint': return this.signed(true);
      case 'bool': return this.varint() !== 0;
      case 'double': {
        if (this.at + 8 > this.bytes.length) throw new Malformed('a number is cut off');
        this.at += 8;
        return this.bytes.readDoubleLE(this.at - 8);
      }
      case 'bytes': return this.chunk();
      default: return this.chunk().toString('utf8');
    }
  }
}

/**
 * Decodes a message: an object with what is there. Lists and maps are always there. With keep, unknown fields are kept under
 * unknown, as bytes. Throws Malformed.
 */
function decode(message, bytes, keep = false, into = blank(message)) {
  const r = new Reader(bytes);
  while (r.at < bytes.length) {
    const start = r.at;
    const key = r.varint();
    const wire = key & 7, number = Math.floor(key / 8);
    if (number === 0) throw new Malformed('a field has the number 0');
    const field = message.byNumber.get(number);
    r.before = r.at;
    if (field !== undefined && field.wire === wire) read(r, field, into, keep);
    else if (field !== undefined && field.list && wire === BYTES && field.wire !== BYTES) packed(r.chunk(), field, into);
    else {
      r.skip(wire, number);
      if (keep) (into.unknown ??= []).push(bytes.subarray(start, r.at));
    }
  }
  return into;
}

function read(r, field, into, keep) {
  const { name, type } = field;
  if (field.map) {
    const entry = decode(type, r.chunk(), keep);
    into[name].set(entry.key ?? '', entry.value ?? (typeof type.byNumber.get(2).type === 'string' ? '' : blank(type.byNumber.get(2).type)));
  } else if (typeof type !== 'string') {
    const chunk = r.chunk();
    if (field.list) into[name].push(decode(type, chunk, keep));
    else into[name] = decode(type, chunk, keep, into[name]); // messages that come twice are merged
  } else if (field.list) into[name].push(r.value(type));
  else into[name] = r.value(type);
}

function packed(chunk, field, into) {
  const r = new Reader(chunk);
  while (r.at < chunk.length) {
    r.before = r.at;
    into[field.name].push(r.value(field.type));
  }
}

/** A message with nothing in it. */
function blank(message) {
  const made = {};
  for (const f of message.all) {
    if (f.list) made[f.name] = [];
    else if (f.map) made[f.name] = new Map();
  }
  return made;
}

class Writer {
  constructor() {
    this.parts = [];
    this.small = []; // bytes not yet in parts
    this.length = 0;
  }

  varint(v) {
    if (v < 0) return this.big(BigInt.asUintN(64, BigInt(v)));
    while (v >= 128) {
      this.small.push((v % 128) | 128);
      v = Math.floor(v / 128);
    }
    this.small.push(v);
  }

  big(v) {
    while (v >= 128n) {
      this.small.push(Number(v & 127n) | 128);
      v >>= 7n;
    }
    this.small.push(Number(v));
  }

  /** Bytes that are already encoded. */
  raw(bytes) {
    if (bytes.length <= 32) {
      for (const b of bytes) this.small.push(b);
      return;
    }
    this.flush();
    this.parts.push(bytes);
    this.length += bytes.length;
  }

  flush() {
    if (this.small.length === 0) return;
    this.parts.push(Buffer.from(this.small));
    this.length += this.small.length;
    this.small = [];
  }

  done() {
    this.flush();
    return this.parts.length === 1 ? this.parts[0] : Buffer.concat(this.parts, this.length);
  }
}

/** Encodes a message. What is undefined, null or, unless the field is optional, empty is left out. */
function encode(message, value) {
  const w = new Writer();
  for (const field of message.all) {
    const v = value[field.name];
    if (v === undefined || v === null) continue;
    if (field.map) {
      for (const [key, one] of v instanceof Map ? v : Object.entries(v)) chunk(w, field.number, encode(field.type, { key, value: one }));
    } else if (field.list) {
      for (const one of v) write(w, field, one, true);
    } else write(w, field, v, field.optional);
  }
  if (value.unknown) for (const bytes of value.unknown) w.raw(bytes);
  return w.done();
}

function chunk(w, number, bytes) {
  w.varint(number * 8 + BYTES);
  w.varint(bytes.length);
  w.raw(bytes);
}

function write(w, field, v, empty) {
  const { number, type } = field;
  switch (type) {
    case 'uint': case 'int': case 'bool':
      if (!empty && !v) return;
      w.varint(number * 8);
      w.varint(Number(v));
      return;
    case 'sint':
      if (!empty && !v) return;
      w.varint(number * 8);
      w.big(v >= 0 ? BigInt(v) * 2n : BigInt(v) * -2n - 1n);
      return;
    case 'double': {
      if (!empty && v === 0) return;
      const b = Buffer.alloc(8);
      b.writeDoubleLE(v);
      w.varint(number * 8 + FIXED64);
      w.raw(b);
      return;
    }
    case 'bytes':
      if (empty || v.length > 0) chunk(w, number, v);
      return;
    case 'string':
      if (empty || v !== '') chunk(w, number, Buffer.from(plain(String(v)), 'utf8'));
      return;
    default: // a message that is there is written, also when there is nothing in it
      chunk(w, number, Buffer.isBuffer(v) ? v : encode(type, v));
  }
}

module.exports = { table, decode, encode, Malformed };
