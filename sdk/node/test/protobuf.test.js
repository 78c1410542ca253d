'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');

const { table, decode, encode, Malformed } = require('../lib/protobuf');
const { textOf, bytesOf } = require('../lib/text');
const messages = require('../lib/messages');

const inner = table({ 1: ['n', 'uint'], 2: ['names', 'string', 'list'] });
const outer = table({
  1: ['u', 'uint'], 2: ['i', 'int'], 3: ['s', 'sint'], 4: ['b', 'bool'], 5: ['d', 'double'], 6: ['raw', 'bytes', 'optional'], 7: ['text', 'string'], 8: ['one', inner],
  9: ['many', inner, 'list'], 10: ['numbers', 'uint', 'list'], 11: ['map', table({ 1: ['key', 'string'], 2: ['value', 'string'] }), 'map'],
});

test('what is encoded is decoded again', () => {
  const value = {
    u: 2 ** 52, i: -5, s: -123456789012, b: true, d: -0.5, raw: Buffer.alloc(0), text: 'é', one: { n: 7, names: ['', 'a'] }, many: [{ names: [] }, { n: 1, names: [] }],
    numbers: [0, 1, 300], map: new Map([['k', 'v'], ['', '']]),
  };
  assert.deepEqual(decode(outer, encode(outer, value)), value);
});

test('extreme integers', () => {
  for (const n of [0x7fffffff, 0x80000000, 0xffffffff, 2 ** 35, 2 ** 42 + 1, Number.MAX_SAFE_INTEGER, -1, -(2 ** 40), -0x80000000]) {
    assert.equal(decode(outer, encode(outer, { i: n })).i, n, `int ${n}`);
    assert.equal(decode(outer, encode(outer, { s: n })).s, n, `sint ${n}`);
  }
});

test('what is empty is left out, unless it is optional', () => {
  assert.equal(encode(outer, { u: 0, i: 0, s: 0, b: false, d: 0, text: '', many: [], map: new Map() }).length, 0);
  assert.deepEqual([...encode(outer, { raw: Buffer.alloc(0) })], [0x32, 0]);
});

test('fields come in any order, several times, packed or not', () => {
  const made = decode(outer, Buffer.concat([
    encode(outer, { one: { n: 1, names: ['a'] } }), encode(outer, { u: 1, numbers: [4] }), encode(outer, { one: { n: 2, names: ['b'] } }), encode(outer, { u: 2 }), Buffer.from([0x52, 2, 5, 6]),
  ]));
  assert.deepEqual(made.one, { n: 2, names: ['a', 'b'] });
  assert.equal(made.u, 2);
  assert.deepEqual(made.numbers, [4, 5, 6]);
});

test('wrong wire types and unknown fields are passed over, and kept on demand', () => {
  const strange = Buffer.from([0x0d, 1, 2, 3, 4, 0xa0, 0x06, 9, 0xa3, 0x06, 0x08, 1, 0xa4, 0x06]); // field 1 as fixed32, 100 as a number, 100 as a group
  assert.equal(decode(outer, strange).u, undefined);
  const kept = decode(outer, strange, true);
  assert.deepEqual(encode(outer, kept), strange);
});

test('what is malformed is refused', () => {
  for (const bad of [[0x08], [0x0a], [0x32, 5, 1], [0x42, 2, 0x08], [0x00, 0x00], [0x29, 1, 2], [0x0f, 1], [0x08, ...Array(11).fill(0xff)], [0xa3, 0x06], [0xa3, 0x06, 0x9c, 0x06], Array(200).fill(0xa3).flatMap((b) => [b, 0x06])]) {
    assert.throws(() => decode(outer, Buffer.from(bad)), Malformed, bad.slice(0, 12).join());
  }
});

test('no bytes break the decoder', () => {
  let seed = 1;
  const next = () => (seed = (seed * 48271) % 2147483647);
  const good = encode(messages.HostFrame, { seq: 1, bindings: [{ id: 1, phase: 1, hooks: [{ name: 'h', config: Buffer.from('{}') }], route: { id: 'r' } }], calls: [{ id: 1, binding: 1, headers: [{ name: 'A', value: Buffer.from('b') }] }] });
  for (let i = 0; i < 20000; i++) {
    const bytes = Buffer.from(good);
    for (let n = next() % 4; n >= 0; n--) bytes[next() % bytes.length] = next() & 0xff;
    try {
      decode(messages.HostFrame, bytes.subarray(0, 1 + (next() % bytes.length)));
    } catch (error) {
      assert.ok(error instanceof Malformed, String(error.stack));
    }
  }
});

test('the frames of PROTOCOL.md', () => {
  const frame = decode(messages.PluginFrame, Buffer.from('08011a2308011217221508011 20a582d4772656574696e671a0568656c6c6f2a04100c18084002'.replace(/ /g, ''), 'hex'));
  const [reply] = frame.replies;
  assert.equal(frame.ack, 1);
  assert.deepEqual(reply.effects.headers, [{ kind: 1, name: 'X-Greeting', value: Buffer.from('hello') }]);
  assert.equal(reply.queued_us, 2);
  assert.deepEqual(encode(messages.PluginFrame, { credit: 128 }), Buffer.from('108001', 'hex'));
});

test('text keeps every byte', () => {
  const cases = [[0x61], [0xff], [0xc3, 0xa9], [0xc3], [0xf0, 0x9f, 0x98, 0x80, 0xf0, 0x9f], [0xe0, 0x80, 0x80], [0xed, 0xa0, 0x80], [0xc0, 0xaf], [0x61, 0xff, 0xc3, 0xa9, 0x80]];
  for (const bytes of cases) assert.deepEqual([...bytesOf(textOf(Buffer.from(bytes)))], bytes);
  assert.equal(textOf(Buffer.from([0x61, 0xff])), 'a\udcff');
  assert.equal(bytesOf('\ud800').toString('utf8'), '\ufffd'); // a stray half that stands for no byte
  assert.deepEqual([...bytesOf(new Uint16Array([0x0201]))], [1, 2]);
  assert.throws(() => bytesOf(5), TypeError);
});
