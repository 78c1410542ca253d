'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');

const { Plugin } = require('..');
const { run } = require('../lib/testing');

const hook = (handle, more = {}) => ({ name: 'p', hooks: { H: { needs: ['default', 'body', 'response_body'], ...more, handle } } });

test('a hook changes the request', async () => {
  const got = await run(hook((x) => {
    assert.equal(x.request.headers.get('x-one'), '1');
    x.request.headers.set('X-One', ['a', 'b']);
    x.request.headers.del('Gone');
    x.request.query.set('q', 'é &');
    x.request.path = '/v2' + x.request.path;
    x.request.method = 'PUT';
    x.request.setBody(JSON.stringify({ ...x.request.json(), b: 2 }));
    x.setValue('plan', { gold: true });
    x.count('ran');
    x.count('ran', 2);
    x.log('warn', { odd: 1 });
  }), 'H', { path: '/a?x=%41&q=1&q=2', headers: { 'X-One': '1', Gone: ['1', '2'] }, body: '{"a":1}' });
  assert.equal(got.outcome, 'ok');
  assert.deepEqual(got.request.headers.entries(), [['X-One', 'a'], ['X-One', 'b']]);
  assert.deepEqual([got.request.method, got.request.path, got.request.query, got.request.body], ['PUT', '/v2/a', 'x=%41&q=%C3%A9+%26', '{"a":1,"b":2}']);
  assert.deepEqual([got.values, got.counters, got.logs], [{ plan: '{"gold":true}' }, { ran: 3 }, [{ level: 'warn', message: '{"odd":1}' }]]);
  assert.deepEqual(got.changed.sort(), ['body', 'headers', 'method', 'path', 'query', 'values']);
});

test('answer, refuse, fail', async () => {
  const answered = await run(hook((x) => {
    x.answer(201, { 'Set-Cookie': ['a', 'b'] }, 'made');
    x.response.headers.add('X-Late', '1');
  }), 'H');
  assert.equal(answered.outcome, 'answered');
  assert.deepEqual([answered.reply.status, answered.reply.body, answered.reply.headers.getAll('set-cookie'), answered.reply.headers.get('X-Late')], [201, 'made', ['a', 'b'], '1']);
  const refused = await run(hook((x) => x.refuse(402, 'pay', { 'X-Price': '3' })), 'H');
  assert.deepEqual([refused.outcome, refused.error], ['refused', { status: 402, message: 'pay', headers: [['X-Price', '3']] }]);
  for (const thrown of [new Error('no'), 'no', null, Object.create(null)]) {
    const failed = await run(hook(async () => { throw thrown; }), 'H');
    assert.equal(failed.outcome, 'failed');
  }
});

test('what no message can carry makes the hook fail', async () => {
  for (const bad of [
    (x) => x.request.headers.set('X-A', 'a\r\nb'), (x) => x.request.headers.add('X A', 'a'), (x) => x.request.headers.set('X-A', ['fine', 'a\0']), (x) => (x.request.path = 'x'),
    (x) => (x.request.path = '/%zz'), (x) => (x.request.method = 'G T'), (x) => (x.request.query.raw = 'a b'), (x) => x.answer(99), (x) => (x.response.status = 600),
    (x) => x.refuse(200, 'fine?'), (x) => x.refuse(400, 'm', { 'X A': 'b' }), (x) => x.answer(200, { 'X-A': 'a\nb' }),
  ]) {
    const got = await run(hook(bad), 'H', { headers: { 'X-One': '1' } });
    assert.equal(got.outcome, 'failed', String(bad));
    assert.deepEqual(got.request.headers.entries(), [['X-One', '1']]);
  }
});

test('who calls', async () => {
  const got = await run(hook((x) => {
    assert.equal(x.session, null);
    x.authenticate('k', 'ada');
    const session = x.session;
    session.meta_data.plan = 'gold';
    session.access_rights.shop = { versions: ['Default'], allowed_urls: [{ url: '/', methods: ['GET'] }] };
    x.setSession(session);
  }), 'H', { phase: 'auth' });
  assert.equal(got.session.key_id, 'k');
  assert.deepEqual(got.session.meta_data, { plan: 'gold' });
  assert.deepEqual(got.session.access_rights.shop, { api_name: '', api_id: '', versions: ['Default'], allowed_urls: [{ url: '/', methods: ['GET'] }] });
  assert.equal((await run(hook((x) => x.setSession({ rate: 'many' })), 'H')).outcome, 'failed');
  assert.equal((await run(hook((x) => x.setSession(null)), 'H', { session: { key_id: 'k' } })).session, null);
});

test('a hook sees what it needs', async () => {
  const plugin = hook((x) => {
    assert.deepEqual(x.request.headers.entries(), [['X-One', '1']]);
    assert.equal(x.request.query.raw, '');
    assert.throws(() => x.request.text(), /needs: \["body"\]/);
    assert.equal(x.request.length, 4);
  }, { needs: ['headers'], headers: ['x-one'] });
  const got = await run(plugin, 'H', { path: '/?q=1', headers: { 'X-One': '1', Cookie: 'c' }, body: 'text' });
  assert.equal(got.error, null);
});

test('the response phase', async () => {
  const got = await run({ name: 'p', hooks: { response: { needs: ['default', 'response_body'], handle(x) {
    assert.equal(x.phase, 'response');
    x.response.status = 202;
    x.response.headers.set('X-Was', x.response.text());
    x.response.setBody();
  } } } }, 'response', { reply: { status: 200, body: 'hello' } });
  assert.deepEqual([got.reply.status, got.reply.body, got.reply.headers.get('x-was')], [202, '', 'hello']);
});

test('queries that are not well-formed', async () => {
  await run(hook((x) => {
    assert.deepEqual(x.request.query.entries(), [['a', '%zz'], ['b', ''], ['', 'x'], ['c', 'a=b'], ['d', '\udcff']]);
    x.request.query.del('b');
    assert.equal(x.request.query.raw, 'a=%zz&=x&c=a=b&d=%ff');
  }), 'H', { path: '/?a=%zz&b&&=x&c=a=b&d=%ff' }).then((got) => assert.equal(got.error, null));
});

test('definitions', () => {
  const f = () => {};
  for (const bad of [{}, { name: '' }, { name: 'p', hooks: { H: 1 } }, { name: 'p', hooks: { H: { phase: 'then', handle: f } } }, { name: 'p', hooks: { H: { needs: ['all'], handle: f } } },
    { name: 'p', hooks: { H: [f, f] } }, { name: 'p', observers: { W: 1 } }]) {
    assert.throws(() => new Plugin(bad), TypeError, JSON.stringify(bad));
  }
  const p = Plugin.of({ pre: f, Sign: f, _own: f, hooks: { Sign: { phase: 'post', needs: [] } }, version: '2' }, { name: 'm' });
  assert.deepEqual(p.hooks.map((h) => [h.name, h.phase, h.needs.fields]), [['pre', 1, 363], ['Sign', 4, 512]]);
  assert.equal(p.find('pre', 4), undefined);
  assert.equal(p.version, '2');
});
