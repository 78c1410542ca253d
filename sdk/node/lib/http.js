'use strict';

const { Headers, validToken } = require('./headers');
const { Query } = require('./query');
const { textOf, bytesOf } = require('./text');

/** The bits of HookOutcome.changed. */
const changed = {
  METHOD: 1, PATH: 2, QUERY: 4, HEADER: 8, BODY: 16, SESSION: 32, VALUES: 64, STATUS: 128, RESPONSE_HEADER: 256, RESPONSE_BODY: 512, ANSWER: 1024,
};

/** What request and reply have in common: a header and a body. */
class Message {
  constructor(x, fields, body, length) {
    this._x = x;
    this.headers = new Headers(fields, (why) => x._refuse(why));
    this._body = body;
    this._length = body ? body.length : length;
  }

  /** The length of the body in bytes; -1 when unknown. */
  get length() {
    return this._length;
  }

  /** The body as text. */
  text() {
    return textOf(this._whole());
  }

  /** The body's bytes, which are not to be changed. */
  bytes() {
    return this._whole();
  }

  /** The body, decoded. */
  json() {
    return JSON.parse(this.text());
  }

  /** Replaces the body by a string or bytes; nothing empties it. */
  setBody(data) {
    this._body = bytesOf(data);
    this._length = this._body.length;
    this._bodyChanged = true;
  }

  _whole() {
    if (!this._body) throw new Error(`the body was not sent: ask for it with needs: [${JSON.stringify(this._need)}]`);
    return this._body;
  }
}

/** The request as the hooks before left it. */
class Request extends Message {
  constructor(x, call) {
    super(x, call.headers, call.body, call.length ?? 0);
    this._need = 'body';
    this._method = text(call.method);
    this._path = text(call.path);
    this.query = new Query(text(call.query), (why) => x._refuse(why));
    this.scheme = text(call.scheme);
    this.host = text(call.host);
    this.proto = text(call.proto);
    this.uri = text(call.uri) || this.target;
  }

  _begin() {
    this._methodChanged = this._pathChanged = this._bodyChanged = false;
    this.query._edited = false;
    this._ops = undefined;
    this.headers._take();
  }

  get method() {
    return this._method;
  }

  set method(method) {
    method = String(method);
    if (!validToken(method)) return void this._x._refuse(`method ${JSON.stringify(method)}: want a token (RFC 9110 9.1)`);
    this._method = method;
    this._methodChanged = true;
  }

  /** With its escapes as they came, the listen path included. */
  get path() {
    return this._path;
  }

  set path(path) {
    path = String(path);
    if (!/^\/(?:[^\0-\x20\x7f?#%]|%[0-9a-fA-F]{2})*$/.test(path)) {
      return void this._x._refuse(`path ${JSON.stringify(path)}: it begins with a slash, blanks, ? and # are escaped`);
    }
    this._path = path;
    this._pathChanged = true;
  }

  /** Path and query as they stand. */
  get target() {
    return this.query.raw === '' ? this._path : `${this._path}?${this.query.raw}`;
  }

  _bits() {
    return (this._methodChanged ? changed.METHOD : 0) | (this._pathChanged ? changed.PATH : 0) | (this.query._edited ? changed.QUERY : 0) |
      (this._ops?.length > 0 ? changed.HEADER : 0) | (this._bodyChanged ? changed.BODY : 0);
  }

  _merge(effects) {
    if (this._methodChanged) effects.method = bytesOf(this._method);
    if (this._pathChanged) effects.path = bytesOf(this._path);
    if (this.query._edited) effects.query = bytesOf(this.query.raw);
    if (this._bodyChanged) effects.body = this._body;
    this._ops = this.headers._take();
    effects.headers = [...(effects.headers ?? []), ...this._ops];
  }
}

/** The reply: the upstream's in the response phase, a hook's answer once there is one. */
class Response extends Message {
  constructor(x, reply) {
    super(x, reply.headers, reply.body, reply.length ?? 0);
    this._need = 'response_body';
    this._status = reply.status ?? 0;
  }

  _begin() {
    this._statusChanged = this._bodyChanged = false;
    this._ops = undefined;
    this.headers._take();
  }

  /** 0 while there is no reply. */
  get status() {
    return this._status;
  }

  set status(status) {
    if (!(Number.isInteger(status) && status >= 200 && status <= 599)) return void this._x._refuse(`status ${status}: want 200 to 599`);
    this._status = status;
    this._statusChanged = true;
  }

  /** Makes it an answer: what was changed before is gone. */
  _replace(status, pairs, body) {
    this.status = status;
    this.headers = new Headers([], (why) => this._x._refuse(why));
    for (const [name, value] of pairs) this.headers.add(name, value);
    this.headers._take();
    this._body = body;
    this._length = body.length;
    this._statusChanged = this._bodyChanged = false;
  }

  _bits() {
    return (this._statusChanged ? changed.STATUS : 0) | (this._ops?.length > 0 ? changed.RESPONSE_HEADER : 0) | (this._bodyChanged ? changed.RESPONSE_BODY : 0);
  }

  _merge(effects, answer) {
    this._ops = this.headers._take();
    if (answer || effects.answer) { // changes of an answer are made in it
      effects.answer = { status: this._status, headers: this.headers._fields(), body: this._body };
      delete effects.status;
      delete effects.response_headers;
      delete effects.response_body;
      return;
    }
    if (this._statusChanged) effects.status = this._status;
    if (this._bodyChanged) effects.response_body = this._body;
    effects.response_headers = [...(effects.response_headers ?? []), ...this._ops];
  }
}

const text = (bytes) => (bytes ? textOf(bytes) : '');

module.exports = { Request, Response, changed };
