'use strict';

const fs = require('node:fs');
const net = require('node:net');

/** Where to listen: unix:PATH, unix:///PATH, tcp://HOST:PORT, HOST:PORT or :PORT. */
function parse(address) {
  const bad = (why) => new Error(`address ${JSON.stringify(address)}: ${why}: want unix:PATH, tcp://HOST:PORT or HOST:PORT`);
  if (address.startsWith('unix:')) {
    const path = address.slice(5).replace(/^\/\/(?=\/)/, '');
    if (path === '' || path.startsWith('//')) throw bad('no path');
    return { path };
  }
  const m = /^(?:tcp:\/\/)?(\[[^\]]*\]|[^:/]*):(\d{1,5})$/.exec(address);
  if (!m) throw bad('no port');
  return { host: m[1] || '[::]', port: Number(m[2]) };
}

/**
 * Binds a server. The socket of a path is made beside it and moved there in one step: an older server's is replaced when takeover
 * says so, and a file that nobody listens on always. Returns the address that it listens on and what removes the socket.
 */
async function bind(server, address, credentials, { mode, takeover }) {
  const at = parse(address);
  if (at.port !== undefined) {
    const port = await bindAsync(server, `${at.host}:${at.port}`, credentials);
    return { address: `${at.host}:${port}`, remove() {} };
  }
  if (!takeover && (await listens(at.path))) throw new Error(`${address}: another server listens there: stop it, or start this one with takeover`);
  const own = `${at.path}.${process.pid}`;
  fs.rmSync(own, { force: true });
  await bindAsync(server, `unix:${own}`, credentials);
  fs.chmodSync(own, mode);
  const { ino } = fs.lstatSync(own);
  fs.renameSync(own, at.path);
  return { address, remove: () => removeOwn(at.path, ino) };
}

function bindAsync(server, text, credentials) {
  return new Promise((resolve, reject) => {
    server.bindAsync(text, credentials, (error, port) => (error ? reject(error) : resolve(port)));
  });
}

function listens(path) {
  return new Promise((resolve) => {
    const socket = net.connect(path);
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

/** Removes a socket, unless another server has taken the path over. */
function removeOwn(path, ino) {
  try {
    if (fs.lstatSync(path).ino === ino) fs.rmSync(path);
  } catch {
    // it is gone
  }
}

module.exports = { bind, parse };
