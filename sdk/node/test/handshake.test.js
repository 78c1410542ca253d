'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { X509Certificate } = require('node:crypto');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');
const grpc = require('@grpc/grpc-js');

const { certificate } = require('../lib/certificate');
const { COOKIE_KEY, COOKIE_VALUE } = require('../lib/handshake');
const messages = require('../lib/messages');
const { decode, encode } = require('../lib/protobuf');

const same = (b) => b;
const script = `require(${JSON.stringify(path.join(__dirname, '..'))}).serve({ name: 'p', version: '1', hooks: {
  pre(x) { x.request.headers.set('X-Greeting', 'hello'); }, Wait: { phase: 'pre', handle: () => new Promise((resolve) => setTimeout(resolve, 300)) } } })`;

/** Starts a plugin as a host does, and returns what its first line says. */
async function started(t, env, args = []) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tb'));
  fs.writeFileSync(path.join(dir, 'plugin.js'), script);
  const child = spawn(process.execPath, [path.join(dir, 'plugin.js'), ...args], { env: { [COOKIE_KEY]: COOKIE_VALUE, PLUGIN_UNIX_SOCKET_DIR: dir, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
  const exited = once(child, 'exit');
  let errors = '';
  child.stderr.on('data', (b) => (errors += b));
  t.after(async () => {
    child.kill('SIGKILL');
    await exited;
    fs.rmSync(dir, { recursive: true, force: true });
  });
  const [line] = await Promise.race([once(readline.createInterface(child.stdout), 'line'), exited.then(() => [''])]);
  return { child, dir, exited, fields: line.split('|'), errors: () => errors };
}

function client(t, address, credentials) {
  const made = new grpc.Client(`unix:${address}`, credentials, { 'grpc.ssl_target_name_override': 'localhost', 'grpc.default_authority': 'localhost' });
  t.after(() => made.close());
  const deadline = () => Date.now() + 10_000;
  return (method, bytes = Buffer.alloc(0)) => new Promise((resolve, reject) => {
    made.makeUnaryRequest(method, same, same, bytes, new grpc.Metadata(), { deadline: deadline() }, (error, reply) => (error ? reject(error) : resolve(reply)));
  });
}

const pem = (base64) => `-----BEGIN CERTIFICATE-----\n${Buffer.from(base64, 'base64').toString('base64').replace(/.{1,64}/g, '$&\n')}-----END CERTIFICATE-----\n`;
const health = encode(messages.HealthRequest, { service: 'plugin' });

test('a certificate is for localhost, an authority, and signs itself', () => {
  const made = certificate(Date.UTC(2049, 5, 1));
  const c = new X509Certificate(made.cert);
  assert.equal(c.ca, true);
  assert.equal(c.checkHost('localhost'), 'localhost');
  assert.equal(c.verify(c.publicKey), true);
  assert.deepEqual([new Date(c.validFrom).getUTCFullYear(), new Date(c.validTo).getUTCFullYear()], [2049, 2079]);
  assert.deepEqual(c.raw, made.der);
  assert.notEqual(new X509Certificate(certificate().cert).serialNumber, c.serialNumber);
});

test('a host is told where the plugin listens, and may stop it', async (t) => {
  const p = await started(t, {});
  assert.deepEqual(p.fields.slice(0, 3), ['1', '1', 'unix']);
  assert.deepEqual(p.fields.slice(4), ['grpc', '']);
  assert.equal(path.dirname(p.fields[3]), p.dir);
  const call = client(t, p.fields[3], grpc.credentials.createInsecure());
  assert.equal(decode(messages.HealthReply, await call('/grpc.health.v1.Health/Check', health)).status, 1);
  p.child.kill('SIGINT'); // somebody's Ctrl-C is the host's to hear
  const object = encode(messages.TykObject, { hook_type: 1, hook_name: 'Wait', request: { headers: new Map(), set_headers: new Map(), delete_headers: [] } });
  const slow = call('/coprocess.Dispatcher/Dispatch', object);
  assert.equal((await call('/plugin.GRPCController/Shutdown')).length, 0);
  await slow; // what is under way is answered
  assert.deepEqual(await p.exited, [0, null]);
  assert.equal(fs.existsSync(p.fields[3]), false);
});

test('with mutual TLS only the host that started the plugin may call it', async (t) => {
  const host = certificate(), stranger = certificate();
  const p = await started(t, { PLUGIN_CLIENT_CERT: host.cert, PLUGIN_MULTIPLEX_GRPC: 'true' });
  assert.equal(p.fields[6], 'false');
  const server = Buffer.from(pem(p.fields[5]));
  assert.equal(new X509Certificate(server).checkHost('localhost'), 'localhost');
  const as = (own) => client(t, p.fields[3], grpc.credentials.createSsl(server, own && Buffer.from(own.key), own && Buffer.from(own.cert)));
  assert.equal(decode(messages.DescribeReply, await as(host)('/turnbuckle.plugin.v1.Plugin/Describe')).name, 'p');
  for (const other of [stranger, null]) await assert.rejects(as(other)('/turnbuckle.plugin.v1.Plugin/Describe'), { code: grpc.status.UNAVAILABLE });
  await assert.rejects(client(t, p.fields[3], grpc.credentials.createInsecure())('/turnbuckle.plugin.v1.Plugin/Describe'), { code: grpc.status.UNAVAILABLE });
  p.child.kill('SIGTERM');
  assert.deepEqual(await p.exited, [0, null]);
});

test('a server that is told to end twice, as timeout(1) tells it, answers what is under way', async (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tb'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  const address = path.join(dir, 's');
  const p = await started(t, { [COOKIE_KEY]: 'another' }, ['--listen', `unix:${address}`]);
  assert.equal(p.fields[0], `listening on unix:${address}`);
  const call = client(t, address, grpc.credentials.createInsecure());
  const object = encode(messages.TykObject, { hook_type: 1, hook_name: 'Wait', request: { headers: new Map(), set_headers: new Map(), delete_headers: [] } });
  const slow = call('/coprocess.Dispatcher/Dispatch', object);
  await call('/grpc.health.v1.Health/Check'); // what was sent before has arrived
  p.child.kill('SIGTERM');
  while (fs.existsSync(address)) await new Promise((resolve) => setTimeout(resolve, 5)); // until it has heard
  p.child.kill('SIGTERM');
  await slow;
  assert.deepEqual(await p.exited, [0, null]);
});

test('what a host wants that cannot be is an error', async (t) => {
  for (const [env, want] of [
    [{ PLUGIN_CLIENT_CERT: 'none' }, /PLUGIN_CLIENT_CERT: no PEM certificate/],
    [{ PLUGIN_UNIX_SOCKET_GROUP: 'wheel' }, /PLUGIN_UNIX_SOCKET_GROUP: "wheel": want the number/],
    [{ PLUGIN_UNIX_SOCKET_DIR: '/nowhere' }, /nowhere/],
  ]) {
    const p = await started(t, env);
    assert.deepEqual(await p.exited, [1, null]);
    assert.match(p.errors(), want);
  }
});

test('without a cookie the environment counts, and the end of the standard input stops a server that is to', async (t) => {
  const p = await started(t, { [COOKIE_KEY]: 'another', TURNBUCKLE_LISTEN: '127.0.0.1:0' }, ['--until-stdin']);
  assert.match(p.fields[0], /^listening on 127\.0\.0\.1:\d+$/);
  p.child.stdin.end();
  assert.deepEqual(await p.exited, [0, null]);
});
