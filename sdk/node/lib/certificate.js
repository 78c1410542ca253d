'use strict';
// A certificate of a process's own, for one start: mutual TLS with the host that started it. It signs itself, as an authority does, which
// is how a peer comes to accept it and no other. DER is X.690's, the certificate RFC 5280's.

const { generateKeyPairSync, randomBytes, sign } = require('node:crypto');

const day = 86400e3;
const INTEGER = 2, BITS = 3, OCTETS = 4, OID = 6, UTF8 = 0x0c, UTC = 0x17, GENERALIZED = 0x18, SEQUENCE = 0x30, SET = 0x31, TRUE = Buffer.from([1, 1, 0xff]);

function der(tag, ...parts) {
  const content = Buffer.concat(parts.map((p) => (Buffer.isBuffer(p) ? p : Buffer.from(p))));
  const n = content.length;
  const length = n < 0x80 ? [n] : n < 0x100 ? [0x81, n] : [0x82, n >> 8, n & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), content]);
}

function oid(text) {
  const [a, b, ...rest] = text.split('.').map(Number);
  const bytes = [a * 40 + b];
  for (const n of rest) {
    const digits = [n & 0x7f];
    for (let left = n >>> 7; left > 0; left >>>= 7) digits.unshift((left & 0x7f) | 0x80);
    bytes.push(...digits);
  }
  return der(OID, bytes);
}

function time(date) {
  const text = date.toISOString().replace(/[-:T]|\.\d+/g, ''); // YYYYMMDDhhmmssZ
  return date.getUTCFullYear() < 2050 ? der(UTC, text.slice(2)) : der(GENERALIZED, text);
}

const extension = (id, critical, value) => der(SEQUENCE, oid(id), critical ? TRUE : [], der(OCTETS, value));

/** Makes a certificate for localhost. Returns it and its key in PEM, and the certificate in DER. */
function certificate(now = Date.now()) {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const algorithm = der(SEQUENCE, oid('1.2.840.10045.4.3.2')); // ECDSA with SHA-256
  const name = der(SEQUENCE,
    der(SET, der(SEQUENCE, oid('2.5.4.10'), der(UTF8, 'Turnbuckle'))),
    der(SET, der(SEQUENCE, oid('2.5.4.3'), der(UTF8, 'localhost'))));
  const serial = randomBytes(16);
  serial[0] = (serial[0] & 0x7f) | 0x40; // positive, and none of its bytes too many
  const extensions = der(0xa3, der(SEQUENCE,
    extension('2.5.29.19', true, der(SEQUENCE, TRUE)), // an authority
    extension('2.5.29.15', true, der(BITS, [2, 0x84])), // signs, certificates too
    extension('2.5.29.37', false, der(SEQUENCE, oid('1.3.6.1.5.5.7.3.1'), oid('1.3.6.1.5.5.7.3.2'))), // servers and clients
    extension('2.5.29.17', false, der(SEQUENCE, der(0x82, 'localhost')))));
  // A process may run for years; the certificate is as good as it is.
  const validity = der(SEQUENCE, time(new Date(now - day)), time(new Date(now + 30 * 365 * day)));
  const body = der(SEQUENCE, der(0xa0, der(INTEGER, [2])), der(INTEGER, serial), algorithm, name, validity, name, publicKey.export({ type: 'spki', format: 'der' }), extensions);
  const whole = der(SEQUENCE, body, algorithm, der(BITS, [0], sign('sha256', body, privateKey)));
  const pem = whole.toString('base64').replace(/.{1,64}/g, '$&\n');
  return {
    der: whole, cert: `-----BEGIN CERTIFICATE-----\n${pem}-----END CERTIFICATE-----\n`, key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
  };
}

module.exports = { certificate };
