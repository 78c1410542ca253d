// A plugin server as it is written for Tyk: @grpc/grpc-js, the .proto files loaded at run time, a table of hooks. Nothing
// in it knows which gateway calls. The messages come from the folder that --protos names.
'use strict';

const { parseArgs } = require('node:util');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const keys = { 'open sesame': { alias: 'ali', plan: 'gold' } };

const hooks = {
  // pre: adds and removes headers, and answers some paths itself.
  Greet(object) {
    const request = object.request;
    request.set_headers = { 'X-Greeting': 'hello ' + request.headers.Host };
    request.delete_headers = ['X-Remove'];
    if (request.url === '/tyk/teapot') {
      request.return_overrides = {
        response_code: 418,
        response_body: 'short & stout\n',
        override_error: true,
        headers: { 'Content-Type': 'text/x-tea' },
      };
    } else if (request.url === '/tyk/closed') {
      request.return_overrides = { response_code: 451, response_error: 'closed by order', headers: { 'X-Reason': 'order' } };
    } else if (request.url === '/tyk/broken') {
      throw new Error('a bug in a hook');
    }
  },

  // auth_check: who the key belongs to. Without a token in the metadata nobody is let in.
  CheckKey(object) {
    const key = object.request.headers.Authorization || '';
    if (key === 'no token') {
      object.session = { alias: 'nobody' };
      return;
    }
    const owner = Object.hasOwn(keys, key) ? keys[key] : null;
    if (!owner) {
      object.request.return_overrides = { response_code: 401, response_error: 'unknown key' };
      return;
    }
    object.session = { alias: owner.alias, rate: 1000, per: 1, metadata: { plan: owner.plan } };
    object.metadata = { token: key };
  },

  // post_key_auth: tells the upstream who calls, from the session and from the definition's config_data.
  TellSession(object) {
    object.request.set_headers = {
      'X-Alias': object.session.alias,
      'X-Plan': object.metadata.plan,
      'X-Tier': JSON.parse(object.spec.config_data).tier,
    };
    object.request.delete_headers = ['Authorization'];
  },

  // post: another method, path, query and body for those that ask for it.
  Rewrite(object) {
    const request = object.request;
    if ('q' in request.params) {
      request.add_params = { query: request.params.q };
      request.delete_params = ['q'];
    }
    request.url = request.url.replace('/tyk/old/', '/tyk/new/');
    request.method = request.headers['X-Method'] || request.method;
    if (request.headers['X-Edit'] === 'append') {
      request.raw_body = Buffer.concat([request.raw_body, Buffer.from('+node')]);
    } else if (request.headers['X-Edit'] === 'empty') {
      request.raw_body = Buffer.alloc(0);
    }
  },

  // response: a header of several lines, the body of text, the status of what was created.
  Sign(object) {
    const response = object.response;
    response.multivalue_headers.push({ key: 'X-Signed', values: ['one', 'two'] });
    if (response.headers['Content-Type'] === 'text/plain') {
      response.raw_body = Buffer.concat([response.raw_body, Buffer.from('signed\n')]);
    }
    if (object.request.method === 'PUT') {
      response.status_code = 201;
    }
  },

  // response: headers through the map of first values. It is merged into multivalue_headers; a hook changes one of the two,
  // because a name that the map lacks is taken out of the other.
  Tidy(object) {
    object.response.headers['X-Single'] = 'yes';
    delete object.response.headers['X-Internal'];
  },
};

function dispatch(call, callback) {
  const object = call.request;
  if (!Object.hasOwn(hooks, object.hook_name)) {
    callback({ code: grpc.status.UNIMPLEMENTED, details: 'no hook ' + object.hook_name });
    return;
  }
  try {
    hooks[object.hook_name](object);
  } catch (error) {
    callback({ code: grpc.status.INTERNAL, details: error.message });
    return;
  }
  callback(null, object);
}

function dispatchEvent(call, callback) {
  const { handler_name: handler, message, spec } = JSON.parse(call.request.payload);
  console.log('event', handler, message.Type, spec.APIID);
  callback(null, {});
}

function main() {
  const { values: options } = parseArgs({
    options: {
      listen: { type: 'string', default: '127.0.0.1:5555' },
      protos: { type: 'string', default: path.join(__dirname, 'proto', 'coprocess') },
    },
  });
  const loaded = protoLoader.loadSync(path.join(options.protos, 'coprocess_object.proto'), {
    includeDirs: [options.protos],
    keepCase: true,
    longs: String,
    enums: String,
    defaults: true,
    oneofs: true,
  });
  const { coprocess } = grpc.loadPackageDefinition(loaded);
  const server = new grpc.Server();
  server.addService(coprocess.Dispatcher.service, { Dispatch: dispatch, DispatchEvent: dispatchEvent });
  server.bindAsync(options.listen, grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error) {
      console.error(error.message);
      process.exit(1);
    }
    console.log('listening on ' + options.listen.replace(/:\d+$/, ':' + port));
  });
  process.on('SIGTERM', () => server.tryShutdown(() => process.exit(0)));
}

main();
