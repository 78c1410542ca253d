'use strict';
// What the hooks do, with no gateway: node --test

const test = require('node:test');
const assert = require('node:assert/strict');
const { run } = require('turnbuckle/testing');

const plugin = require('./plugin');

test('Welcome greets, and answers teapots', async () => {
  const got = await run(plugin, 'Welcome', { path: '/native/x', headers: { 'X-Remove': 'me' } });
  assert.deepEqual(got.request.headers.entries(), [['X-Greeting', 'hello example.test']]);
  const tea = await run(plugin, 'Welcome', { path: '/native/teapot' });
  assert.deepEqual([tea.outcome, tea.reply.status, tea.reply.headers.getAll('X-Pot')], ['answered', 418, ['1', '2']]);
});

test('CheckKey knows the keys of its configuration', async () => {
  const ask = (key) => run(plugin, 'CheckKey', { phase: 'auth', headers: { Authorization: key }, config: { keys: { sesame: 'ali' } } });
  assert.equal((await ask('sesame')).session.alias, 'ali');
  assert.deepEqual((await ask('constructor')).error, { status: 403, message: 'unknown key', headers: [['X-Reason', 'key']] });
});

test('Sign signs text', async () => {
  const got = await run(plugin, 'Sign', { phase: 'response', method: 'PUT', reply: { headers: { 'Content-Type': 'text/plain' }, body: 'plain\n' } });
  assert.deepEqual([got.reply.status, got.reply.body], [201, 'plain\nsigned\n']);
});
