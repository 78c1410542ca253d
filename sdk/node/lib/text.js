'use strict';
// Text and bytes. Header values and bodies are bytes; a hook sees text. Bytes that are UTF-8 become their characters, and each
// byte of any other becomes one code unit of U+DC80 to U+DCFF, which becomes that byte again. So text that is read and written
// again keeps every byte, as in the gateway's own scripts.

const { isUtf8 } = require('node:buffer');

/** The text of bytes. */
function textOf(bytes) {
  if (isUtf8(bytes)) return bytes.toString('utf8');
  let out = '';
  for (let i = 0; i < bytes.length; ) {
    const n = sequence(bytes, i);
    if (n === 0) {
      out += String.fromCharCode(0xdc00 + bytes[i]);
      i++;
    } else {
      out += bytes.toString('utf8', i, i + n);
      i += n;
    }
  }
  return out;
}

/** How many bytes at i are one character of UTF-8; 0 when they are none. */
function sequence(bytes, i) {
  const first = bytes[i];
  const n = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  return n > 0 && i + n <= bytes.length && isUtf8(bytes.subarray(i, i + n)) ? n : 0;
}

/** The bytes of data: a string, an ArrayBuffer or a view of one; nothing is empty. */
function bytesOf(data) {
  if (data === undefined || data === null) return Buffer.alloc(0);
  if (typeof data === 'string') return bytesOfText(data);
  if (Buffer.isBuffer(data)) return data;
  if (ArrayBuffer.isView(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (data instanceof ArrayBuffer) return Buffer.from(data);
  throw new TypeError(`data is a string or bytes, not ${typeof data}`);
}

const surrogate = /[\ud800-\udfff]/;

function bytesOfText(text) {
  if (!surrogate.test(text)) return Buffer.from(text, 'utf8');
  const parts = [];
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0xd800 && unit <= 0xdbff && isLow(text.charCodeAt(i + 1))) {
      i++; // a pair: a character like any other
    } else if (unit >= 0xdc80 && unit <= 0xdcff) {
      parts.push(Buffer.from(text.slice(from, i), 'utf8'), Buffer.of(unit - 0xdc00));
      from = i + 1;
    }
  }
  parts.push(Buffer.from(text.slice(from), 'utf8'));
  return Buffer.concat(parts);
}

const isLow = (unit) => unit >= 0xdc00 && unit <= 0xdfff;

/** Text for a protobuf string, which must be UTF-8: what is not becomes U+FFFD. */
const plain = (text) => (surrogate.test(text) ? Buffer.from(text, 'utf8').toString('utf8') : text);

module.exports = { textOf, bytesOf, plain };
