'use strict';

/** A refusal on purpose: the only text of a plugin that a client reads. */
class Refusal extends Error {
  constructor(status, message, headers = []) {
    super(message);
    this.name = 'Refusal';
    this.status = status;
    this.headers = headers;
  }
}

/** Why a hook gave no result, with the code of PROTOCOL.md 1.6. */
class Failure extends Error {
  constructor(code, message) {
    super(message);
    this.name = 'Failure';
    this.code = code;
  }
}

/** The codes of failures. */
const codes = { FAILED: 1, TIMEOUT: 2, CANCELED: 3, UNIMPLEMENTED: 4, OVERLOADED: 5, UNAVAILABLE: 6, PROTOCOL: 7 };

const longest = 4096; // of a message that a host takes

/** What a hook threw, as the failure that the host is told. Anything may be thrown. */
function failureOf(thrown) {
  if (thrown instanceof Failure) return thrown;
  let message;
  try {
    message = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : `thrown: ${String(thrown)}`;
  } catch {
    message = 'thrown: something that has no text';
  }
  return new Failure(codes.FAILED, clip(message));
}

/** Text within the bound of a log line or message. */
function clip(text) {
  const bytes = Buffer.from(text, 'utf8');
  return bytes.length <= longest ? text : bytes.subarray(0, longest).toString('utf8').replace(/\ufffd+$/, '');
}

module.exports = { Refusal, Failure, codes, failureOf, clip };
