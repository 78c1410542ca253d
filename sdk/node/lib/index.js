'use strict';

const { parseArgs } = require('node:util');

const { Refusal } = require('./errors');
const handshake = require('./handshake');
const { Plugin } = require('./plugin');
const { Server } = require('./server');

const flags = {
  listen: { type: 'string' }, 'socket-mode': { type: 'string' }, takeover: { type: 'boolean' }, drain: { type: 'string' }, handover: { type: 'string' },
  'tls-cert': { type: 'string' }, 'tls-key': { type: 'string' }, 'tls-client-ca': { type: 'string' }, help: { type: 'boolean' }, 'until-stdin': { type: 'boolean' },
  version: { type: 'boolean' },
};

const usage = (plugin) => `${plugin.name} ${plugin.version} is a plugin server for Turnbuckle, and for gateways that speak Tyk's gRPC plugin protocol.

  --listen ADDRESS      unix:PATH, tcp://HOST:PORT or HOST:PORT (else TURNBUCKLE_LISTEN, TURNBUCKLE_PLUGIN_LISTEN)
  --socket-mode MODE    permissions of the unix socket, octal (default 600)
  --takeover            take the socket's path over from a server that still runs
  --drain SECONDS       how long calls may take to finish after SIGTERM (default 10)
  --handover SECONDS    of these, how long gateways may take to find a server that has taken over (default 1)
  --until-stdin         stop when the standard input ends, as on SIGTERM
  --tls-cert, --tls-key, --tls-client-ca FILE`;

/** What the arguments and the environment say, as options of a server. */
function optionsOf(args, env) {
  const { values } = parseArgs({ args, options: flags, strict: true });
  const options = { listen: values.listen ?? env.TURNBUCKLE_LISTEN ?? env.TURNBUCKLE_PLUGIN_LISTEN, help: values.help, version: values.version };
  if (values['socket-mode']) {
    options.socketMode = parseInt(values['socket-mode'], 8);
    if (!/^[0-7]{3,4}$/.test(values['socket-mode'])) throw new Error(`--socket-mode ${values['socket-mode']}: want octal permissions such as 660`);
  }
  for (const name of ['drain', 'handover']) {
    if (values[name] === undefined) continue;
    options[name] = Number(values[name]) * 1000;
    if (!(options[name] >= 0)) throw new Error(`--${name} ${values[name]}: want seconds`);
  }
  if (values.takeover) options.takeover = true;
  if (values['until-stdin']) options.untilStdin = true;
  if (values['tls-cert'] || values['tls-key']) {
    if (!values['tls-cert'] || !values['tls-key']) throw new Error('TLS needs both --tls-cert and --tls-key');
    options.tls = { cert: values['tls-cert'], key: values['tls-key'], clientCA: values['tls-client-ca'] };
  }
  return options;
}

/**
 * Serves a plugin until the process gets SIGTERM or SIGINT, then drains and ends the process. It reads the address from options.listen,
 * the arguments or the environment, and resolves with the server once it takes calls. A host that starts plugins the way hashicorp/go-plugin
 * does needs give no address: it is told where the plugin listens.
 */
async function serve(definition, options = {}) {
  try {
    const plugin = definition instanceof Plugin ? definition : new Plugin(definition);
    const env = options.env ?? process.env;
    const said = optionsOf(options.args ?? process.argv.slice(2), env);
    const all = { ...said, ...(handshake.wanted(env) ? handshake.answer(env) : {}), ...options };
    if (all.help || all.version) {
      console.log(all.help ? usage(plugin) : `${plugin.name} ${plugin.version}`);
      process.exit(0);
    }
    if (!all.listen) throw new Error('no address to listen on: give --listen or set TURNBUCKLE_LISTEN');
    const end = (well) => process.exit(well ? 0 : 1);
    const server = new Server(plugin, { ...Object.fromEntries(Object.entries(all).filter(([, v]) => v !== undefined)), onStopped: end });
    const address = await server.listen(all.listen);
    if (all.hosted && env.PLUGIN_UNIX_SOCKET_GROUP) handshake.share(address, env.PLUGIN_UNIX_SOCKET_GROUP);
    console.log(all.hosted ? handshake.line(address, all.own, env) : `listening on ${address}`);
    stopOn(server, all);
    return server;
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}

/** Stops the server on signals, and when its standard input ends if it is to. A second SIGINT ends the process at once; SIGTERM often comes twice. */
function stopOn(server, { hosted, untilStdin }) {
  process.on('SIGTERM', () => server.stop());
  if (hosted) process.on('SIGINT', () => {}); // a terminal sends it to both: it is the host's to hear
  else process.once('SIGINT', () => server.stop());
  if (!untilStdin) return;
  process.stdin.on('error', () => server.stop());
  process.stdin.on('end', () => server.stop());
  process.stdin.resume();
}

module.exports = { serve, Server, Plugin, Refusal };
