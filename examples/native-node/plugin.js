'use strict';
// A plugin with hooks in all phases, on the Node SDK: sdk/node. It is served by server.js and tested by plugin.test.js.

const { setTimeout: sleep } = require('node:timers/promises');

module.exports = {
  name: 'gatekeeper',
  version: '1.0.0',
  config_schema: {
    type: 'object',
    additionalProperties: false,
    properties: { keys: { type: 'object', additionalProperties: { type: 'string' } } },
  },
  hooks: {
    // Sets a header, and answers when it is asked to.
    Welcome: {
      phase: 'pre',
      needs: ['headers'],
      handle(x) {
        x.request.headers.set('X-Greeting', `hello ${x.request.host}`);
        x.request.headers.del('X-Remove');
        x.count('welcomed');
        if (x.request.path.endsWith('/teapot')) x.answer(418, { 'Content-Type': 'text/x-tea', 'X-Pot': ['1', '2'] }, 'short and stout\n');
        if (x.request.path.endsWith('/broken')) throw new Error('a bug in a hook');
      },
    },
    // Waits as many milliseconds as X-Wait says, and holds nobody.
    Wait: {
      phase: 'pre',
      needs: ['headers'],
      headers: ['X-Wait'],
      async handle(x) {
        const ms = Number(x.request.headers.get('X-Wait') ?? 0);
        if (ms > 0) await sleep(ms, undefined, { signal: x.signal });
      },
    },
    // Knows the keys of the route's configuration.
    CheckKey: {
      phase: 'auth',
      needs: ['headers'],
      headers: ['Authorization'],
      handle(x) {
        const key = x.request.headers.get('Authorization');
        if (key === undefined) return; // nobody: the gateway refuses
        const keys = x.config?.keys ?? {};
        if (!Object.hasOwn(keys, key)) x.refuse(403, 'unknown key', { 'X-Reason': 'key' });
        x.setSession({ key_id: key, alias: keys[key], meta_data: { plan: 'gold' } });
      },
    },
    // Tells the upstream who calls, and changes what it is asked to.
    Tell: {
      phase: 'post',
      needs: ['headers', 'query', 'session', 'body'],
      handle(x) {
        x.request.headers.set('X-Alias', x.session.alias);
        x.request.headers.set('X-Plan', x.session.meta_data.plan);
        x.request.headers.add('X-Many', '3');
        if (x.request.path.startsWith('/native/old/')) {
          x.request.path = x.request.path.replace('/old/', '/new/');
          x.request.query.set('b', '2');
        }
        if (x.request.headers.get('X-Edit') === 'append') x.request.setBody(Buffer.concat([x.request.bytes(), Buffer.from('+node')]));
      },
    },
    // Changes header, status and body of the reply.
    Sign: {
      phase: 'response',
      needs: ['response_headers', 'response_body'],
      handle(x) {
        x.response.headers.set('X-Signed', ['one', 'two']);
        x.response.headers.del('X-Internal');
        if (x.response.headers.get('Content-Type') === 'text/plain') x.response.setBody(x.response.text() + 'signed\n');
        if (x.request.method === 'PUT') x.response.status = 201;
      },
    },
  },
  observers: {
    // Prints what has ended and what has happened.
    Watch({ records, events }) {
      for (const r of records) console.log('record', r.method, r.path, r.status, r.alias);
      for (const e of events) console.log('event', e.type, e.route);
    },
  },
};
