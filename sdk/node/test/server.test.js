'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');

const { Server } = require('..');
const messages = require('../lib/messages');
const { decode, encode } = require('../lib/protobuf');
const { parse } = require('../lib/listen');

const same = (b) => b;

async function started(t, definition, options = {}) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tb'));
  const address = `unix:${path.join(dir, 's')}`;
  const server = new Server(definition, { drain: 2000, handover: 50, ...options });
  await server.listen(address);
  t.after(async () => {
    await server.stop();
    fs.rmSync(dir, { recursive: true, force: true });
  });
  return { server, address, file: path.join(dir, 's') };
}

function client(t, address) {
  const made = new grpc.Client(address, grpc.credentials.createInsecure());
  t.after(() => made.close());
  return made;
}

/** A session: send frames, and wait for replies by id. */
function session(t, made) {
  const stream = made.makeBidiStreamRequest('/turnbuckle.plugin.v1.Plugin/Session', same, same);
  const s = { stream, frames: [], replies: new Map(), waiting: [], seq: 0 };
  s.ended = new Promise((resolve) => stream.on('status', resolve));
  stream.on('error', () => {});
  stream.on('data', (b) => {
    const frame = decode(messages.PluginFrame, b);
    s.frames.push(frame);
    for (const r of frame.replies) s.replies.set(r.id, r);
    s.waiting.forEach((check) => check());
  });
  s.until = (met) => new Promise((resolve) => {
    const check = () => met() && resolve();
    s.waiting.push(check);
    check();
  });
  s.send = (frame) => stream.write(encode(messages.HostFrame, { seq: ++s.seq, ...frame }));
  t.after(() => stream.cancel());
  return s;
}

const binding = (id, name) => ({ id, phase: 1, hooks: [{ name }], route: { id: 'r' } });
const call = (id, of, more = {}) => ({ id, binding: of, method: Buffer.from('GET'), path: Buffer.from('/'), ...more });

test('a slow call holds no other, and a stream shares frames', async (t) => {
  let release;
  const gate = new Promise((resolve) => (release = resolve));
  const { address } = await started(t, { name: 'p', hooks: { Slow: () => gate, Quick: (x) => x.request.headers.set('A', 'b') } });
  const s = session(t, client(t, address));
  await s.until(() => s.frames.length === 1);
  assert.deepEqual([s.frames[0].credit, s.frames[0].ack], [1024, undefined]);
  s.send({ bindings: [binding(1, 'Slow'), binding(2, 'Quick')], calls: [call(1, 1), ...Array.from({ length: 50 }, (_, i) => call(i + 2, 2))] });
  await s.until(() => s.replies.size === 50);
  assert.equal(s.replies.has(1), false);
  assert.equal(s.frames.length, 2); // one frame with the acknowledgement and all that was finished
  assert.equal(s.frames[1].ack, 1);
  release();
  await s.until(() => s.replies.has(1));
});

test('deadlines and cancels end the signal', async (t) => {
  const reasons = [];
  const { address } = await started(t, { name: 'p', hooks: { Wait: (x) => new Promise((_, reject) => x.signal.addEventListener('abort', () => {
    reasons.push(x.signal.reason.message);
    reject(x.signal.reason);
  })) } });
  const s = session(t, client(t, address));
  s.send({ bindings: [binding(1, 'Wait')], calls: [call(1, 1, { timeout_us: 20000 }), call(2, 1)] });
  await s.until(() => s.replies.has(1));
  assert.equal(s.replies.get(1).failure.code, 2);
  s.send({ cancels: [2, 99] });
  await s.until(() => s.replies.has(2));
  assert.equal(s.replies.get(2).failure.code, 3);
  assert.deepEqual(reasons, ['the deadline passed', 'the host cancelled the call']);
});

test('hooks that ignore their end are bounded', async (t) => {
  const { address } = await started(t, { name: 'p', hooks: { Hang: () => new Promise(() => {}) } }, { credit: 2 });
  const s = session(t, client(t, address));
  s.send({ bindings: [binding(1, 'Hang')] });
  for (let id = 1; id <= 8; id++) {
    s.send({ calls: [call(id, 1)], cancels: [id] });
    await s.until(() => s.replies.has(id));
    assert.equal(s.replies.get(id).failure.code, 3);
  }
  s.send({ calls: [call(9, 1)] });
  await s.until(() => s.replies.has(9));
  assert.equal(s.replies.get(9).failure.code, 5);
});

test('a server that stops answers what runs, tells its streams and removes its socket', async (t) => {
  let release;
  const gate = new Promise((resolve) => (release = resolve));
  const { server, address, file } = await started(t, { name: 'p', hooks: { Slow: () => gate } });
  const s = session(t, client(t, address));
  s.send({ bindings: [binding(1, 'Slow')], calls: [call(1, 1)] });
  await s.until(() => s.frames.some((f) => f.ack === 1));
  const stopped = server.stop();
  assert.equal(fs.existsSync(file), false);
  await s.until(() => s.frames.some((f) => f.drain));
  release();
  await s.until(() => s.replies.has(1));
  s.stream.end();
  assert.equal((await s.ended).code, grpc.status.OK);
  assert.equal(await stopped, true);
});

test('a server that is cut says so', async (t) => {
  const { server, address } = await started(t, { name: 'p', hooks: { Hang: () => new Promise(() => {}) } }, { drain: 100 });
  const s = session(t, client(t, address));
  s.send({ bindings: [binding(1, 'Hang')], calls: [call(1, 1)] });
  await s.until(() => s.frames.some((f) => f.ack === 1));
  assert.equal(await server.stop(), false);
});

test('a socket is taken over, and left to who took it', async (t) => {
  const { server, address, file } = await started(t, { name: 'old' });
  assert.equal(fs.statSync(file).mode & 0o777, 0o600);
  await assert.rejects(new Server({ name: 'new' }).listen(address), /another server listens there/);
  // Another process has another name for its socket; this one takes the same.
  const other = new Server({ name: 'new' }, { takeover: true, drain: 500 });
  const before = fs.lstatSync(file).ino;
  await other.listen(address);
  t.after(() => other.stop());
  assert.notEqual(fs.lstatSync(file).ino, before);
  await server.stop();
  const about = await new Promise((resolve, reject) => client(t, address).makeUnaryRequest('/turnbuckle.plugin.v1.Plugin/Describe', same, same, Buffer.alloc(0), (e, b) => (e ? reject(e) : resolve(b))));
  assert.equal(decode(messages.DescribeReply, about).name, 'new');
});

test('a file that nobody listens on is replaced', async (t) => {
  const { file, server } = await started(t, { name: 'p' });
  await server.stop();
  fs.writeFileSync(file, '');
  const next = new Server({ name: 'p' }, { drain: 500 });
  await next.listen(`unix://${file}`);
  await next.stop();
});

test('Tyk: what nobody here knows goes back', async (t) => {
  const { address } = await started(t, { name: 'p', hooks: { Edit: (x) => x.request.headers.set('x-a', 'b') } });
  const echo = Buffer.from([0xa0, 0x06, 1]); // field 100
  const object = encode(messages.TykObject, { hook_type: 1, hook_name: 'Edit', request: { url: '/x', method: 'GET', unknown: [echo] }, spec: { config_data: '{}' } });
  const reply = await new Promise((resolve, reject) => client(t, address).makeUnaryRequest('/coprocess.Dispatcher/Dispatch', same, same, object, (e, b) => (e ? reject(e) : resolve(b))));
  const got = decode(messages.TykObject, reply, true);
  assert.deepEqual([...got.request.set_headers], [['X-A', 'b']]);
  assert.deepEqual(got.request.unknown, [echo]);
});

test('a connection that ends with a call of an unknown method ends nothing else', async (t) => {
  const { server } = await started(t, { name: 'p' });
  // What grpc-js makes of a broken connection depends on when it comes; that somebody listens does not.
  const [http2] = server._grpc.http2Servers.keys();
  const stream = new (require('node:events'))();
  for (const listener of http2.listeners('stream').slice(-1)) listener(stream);
  stream.emit('error', new Error('ERR_HTTP2_ERROR'));
});

test('addresses', () => {
  assert.deepEqual(parse('unix:a'), { path: 'a' });
  assert.deepEqual(parse('unix:///a'), { path: '/a' });
  assert.deepEqual(parse('tcp://127.0.0.1:1'), { host: '127.0.0.1', port: 1 });
  assert.deepEqual(parse('[::1]:1'), { host: '[::1]', port: 1 });
  assert.deepEqual(parse(':80'), { host: '[::]', port: 80 });
  for (const bad of ['', 'unix:', 'unix:////x', 'http://x:1', 'host', 'tcp://']) assert.throws(() => parse(bad), /want unix:PATH/, bad);
});
