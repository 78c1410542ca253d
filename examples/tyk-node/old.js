// A plugin server whose messages are years old, and whose library, protobuf.js, drops the fields it does not know. With
// the messages of 2017 it sees neither raw_body nor replies, with those of 2020 no multivalue_headers. The messages come
// from the folder that --protos names: ../tyk-python/old/protos-2017 or -2020.
'use strict';

const { parseArgs } = require('node:util');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const hooks = {
  Edit({ request }) {
    request.set_headers = { 'X-Old': 'yes' };
    if (request.headers['X-Edit'] === 'append') {
      request.body += '+old';
      request.raw_body = Buffer.concat([request.raw_body || Buffer.alloc(0), Buffer.from('+old')]);
    } else if (request.headers['X-Edit'] === 'empty') {
      request.body = '';
      request.raw_body = Buffer.alloc(0);
    }
  },

  Sign({ response }) {
    if (!response) {
      return; // there is none in the messages of 2017
    }
    response.headers['X-Single'] = 'yes';
    response.headers['Set-Cookie'] = 'a=2';
    delete response.headers['X-Internal'];
    if (response.headers['Content-Type'] === 'text/plain') {
      response.raw_body = Buffer.concat([response.raw_body, Buffer.from('signed\n')]);
    }
  },

  None() {},
};

const { values: options } = parseArgs({
  options: { listen: { type: 'string', default: '127.0.0.1:5555' }, protos: { type: 'string' } },
});
const { coprocess } = grpc.loadPackageDefinition(
  protoLoader.loadSync(path.join(options.protos, 'coprocess_object.proto'), {
    includeDirs: [options.protos],
    keepCase: true,
    defaults: true,
  }),
);
const server = new grpc.Server();
server.addService(coprocess.Dispatcher.service, {
  Dispatch(call, callback) {
    hooks[call.request.hook_name](call.request);
    callback(null, call.request);
  },
  DispatchEvent(call, callback) {
    callback(null, {});
  },
});
server.bindAsync(options.listen, grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) {
    throw error;
  }
  console.log('listening on ' + options.listen.replace(/:\d+$/, ':' + port));
});
process.on('SIGTERM', () => server.tryShutdown(() => process.exit(0)));
