'use strict';
// The plugin's side of how hashicorp/go-plugin starts plugin servers: the host starts the process with a cookie in its environment,
// and the process says on the first line of its standard output where it listens.

const { randomBytes } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const { certificate } = require('./certificate');

// What hosts have to agree on with plugins that are written with our SDKs (go-plugin's HandshakeConfig). The cookie is no secret: it tells a
// plugin that a host started it, and not somebody at a shell.
const COOKIE_KEY = 'TURNBUCKLE_PLUGIN_COOKIE', COOKIE_VALUE = 'turnbuckle.plugin.v1';
const CORE = 1, VERSION = 1;

/** Whether a host started this process, for one of our plugins. */
const wanted = (env) => env[COOKIE_KEY] === COOKIE_VALUE;

/** What the host wants, as options of a server: where to listen, and with what TLS. Throws when it wants what cannot be. */
function answer(env) {
  const options = { listen: `unix:${socketPath(env.PLUGIN_UNIX_SOCKET_DIR)}`, hosted: true };
  if (env.PLUGIN_CLIENT_CERT) {
    if (!env.PLUGIN_CLIENT_CERT.includes('-----BEGIN CERTIFICATE-----')) throw new Error('environment variable PLUGIN_CLIENT_CERT: no PEM certificate in it');
    options.own = certificate();
    options.tls = { cert: options.own.cert, key: options.own.key, clientCA: env.PLUGIN_CLIENT_CERT };
  }
  return options;
}

/** A name for a socket that nothing has in the folder, by default the system's for temporary files. */
function socketPath(folder) {
  return path.resolve(folder || os.tmpdir(), `plugin${randomBytes(6).toString('hex')}`);
}

/** Lets the members of a group, by its number, use the socket. */
function share(address, group) {
  if (!/^\d+$/.test(group)) throw new Error(`environment variable PLUGIN_UNIX_SOCKET_GROUP: ${JSON.stringify(group)}: want the number of a group`);
  const file = address.slice('unix:'.length);
  fs.chownSync(file, -1, Number(group));
  fs.chmodSync(file, 0o660);
}

/** The line that tells the host where the plugin listens. */
function line(address, own, env) {
  const at = address.startsWith('unix:') ? ['unix', address.slice('unix:'.length)] : ['tcp', address];
  const fields = [CORE, VERSION, ...at, 'grpc', own ? own.der.toString('base64').replace(/=+$/, '') : ''];
  if (env.PLUGIN_MULTIPLEX_GRPC) fields.push(false); // older hosts take a seventh field for part of the sixth
  return fields.join('|');
}

module.exports = { COOKIE_KEY, COOKIE_VALUE, wanted, answer, share, line };
