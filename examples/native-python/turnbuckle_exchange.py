"""What a hook reads and changes: one call of the native protocol, and the effects its hooks leave (PROTOCOL.md 1.5, 1.6)."""

import re

from plugin.v1 import plugin_pb2 as pb
from plugin.v1 import session_pb2

PRE, AUTH, POST_KEY_AUTH, POST, RESPONSE = 1, 2, 3, 4, 5

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BAD_PATH = re.compile(rb"[\x00-\x20\x7f?#]")


class Refusal(Exception):
    """Ends the exchange on purpose: the client reads the message, with a status from 400 to 599."""

    def __init__(self, status, message, headers=()):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, [_line(name, value) for name, value in headers]


class ProtocolError(Exception):
    """What the hook did, no HTTP message can carry."""


def _bytes(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _text(data):
    return data.decode("utf-8", "surrogateescape")


def _line(name, value):
    value = _bytes(value)
    if not _TOKEN.match(name) or _BAD_VALUE.search(value):
        raise ProtocolError("no header line: %r: %r" % (name, value))
    return name, value


class Headers:
    """The header lines of a message: order, spelling and number are kept, names compare without case. Changes are noted
    in the list of operations that ops() returns."""

    def __init__(self, fields, ops):
        self._lines = [(f.name, f.value) for f in fields]
        self._ops = ops

    def get(self, name, default=None):
        return next(iter(self.all(name)), default)

    def all(self, name):
        return [_text(v) for n, v in self._lines if n.lower() == name.lower()]

    def items(self):
        return [(n, _text(v)) for n, v in self._lines]

    def set(self, name, value):
        name, value = _line(name, value)
        at = next((i for i, (n, _) in enumerate(self._lines) if n.lower() == name.lower()), len(self._lines))
        rest = [line for line in self._lines[at:] if line[0].lower() != name.lower()]
        self._lines[at:] = [(name, value)] + rest
        self._ops().add(kind=pb.HEADER_OP_KIND_SET, name=name, value=value)

    def add(self, name, value):
        name, value = _line(name, value)
        self._lines.append((name, value))
        self._ops().add(kind=pb.HEADER_OP_KIND_ADD, name=name, value=value)

    def delete(self, name):
        _line(name, b"")
        self._lines = [line for line in self._lines if line[0].lower() != name.lower()]
        self._ops().add(kind=pb.HEADER_OP_KIND_DEL, name=name)


class Exchange:
    """A request, its reply in the response phase, and who calls. Each hook of a call works on what those before it left.
    What a hook did not ask for is empty, or None where the difference counts (body)."""

    def __init__(self, binding, call, logs, counters):
        self.phase, self.route = binding.phase, binding.route
        self.config = b""  # JSON, of the hook that runs
        self.call = call  # client, request_id, traceparent and the like
        self.effects = pb.Effects()  # of the hook that runs
        self._logs, self._counters, self._hook = logs, counters, 0
        self._method, self._path, self._query = _text(call.method), _text(call.path), _text(call.query)
        self._body = call.body if call.HasField("body") else None
        self.headers = Headers(call.headers, lambda: self.effects.headers)
        self._session = call.session if call.HasField("session") else None
        self._values = {v.name: v.data for v in call.values if v.HasField("data")}
        self._reply(call.response)

    def _reply(self, response):
        self._status = response.status
        self._response_body = response.body if response.HasField("body") else None
        self.response_headers = Headers(response.headers, lambda: self.effects.response_headers)

    def begin(self, index, config):
        """The hook with that index in the binding is next."""
        self._hook, self.config, self.effects = index, config, pb.Effects()

    @property
    def method(self):
        return self._method

    @method.setter
    def method(self, method):
        if not _TOKEN.match(method):
            raise ProtocolError("no method: %r" % method)
        self._method, self.effects.method = method, _bytes(method)

    @property
    def path(self):
        return self._path

    @path.setter
    def path(self, path):
        if not path.startswith("/") or _BAD_PATH.search(_bytes(path)):
            raise ProtocolError("no path: %r" % path)
        self._path, self.effects.path = path, _bytes(path)

    @property
    def query(self):
        return self._query

    @query.setter
    def query(self, query):
        self._query, self.effects.query = query, _bytes(query)

    @property
    def body(self):
        return self._body

    @body.setter
    def body(self, body):
        self._body = self.effects.body = body

    @property
    def session(self):
        """Who calls, a Session message; None if nobody is known. To change it, assign another."""
        return self._session

    @session.setter
    def session(self, session):
        self._session = session
        if session is None:
            self.effects.ClearField("session")
            self.effects.clear_session = True
        else:
            self.effects.session.CopyFrom(session)

    def authenticate(self, key_id, **facts):
        """Says who calls."""
        self.session = session_pb2.Session(key_id=key_id, **facts)

    def value(self, name):
        return self._values.get(name)

    def set_value(self, name, data):
        """Leaves bytes for later hooks; None takes the value away."""
        kept = [v for v in self.effects.values if v.name != name]
        del self.effects.values[:]
        self.effects.values.extend(kept)
        self._values.pop(name, None)
        if data is None:
            self.effects.values.add(name=name)
        else:
            self.effects.values.add(name=name, data=data)
            self._values[name] = data

    def answer(self, status, body=b"", headers=()):
        """Answers at once; in the response phase, replaces the reply."""
        if not 200 <= status <= 599:
            raise ProtocolError("no status: %r" % status)
        answer = pb.Response(status=status, body=_bytes(body), length=len(_bytes(body)))
        for name, value in headers:
            name, value = _line(name, value)
            answer.headers.add(name=name, value=value)
        forget_reply(self.effects)
        self.effects.answer.CopyFrom(answer)
        self._reply(answer)

    @property
    def status(self):
        return self._status

    @status.setter
    def status(self, status):
        if not 200 <= status <= 599:
            raise ProtocolError("no status: %r" % status)
        self._status = self.effects.status = status

    @property
    def response_body(self):
        return self._response_body

    @response_body.setter
    def response_body(self, body):
        self._response_body = self.effects.response_body = body

    def log(self, level, message):
        """A line in the gateway's log: -4 debug, 0 info, 4 warn, 8 error."""
        self._logs.add(hook=self._hook, level=level, message=message)

    def count(self, name, delta=1):
        """Adds to a counter of the gateway's metrics."""
        self._counters.add(hook=self._hook, name=name, delta=delta)


def forget_reply(effects):
    """An answer drops every change of the reply before it."""
    for field in ("answer", "status", "response_headers", "response_body"):
        effects.ClearField(field)


def merge(total, effects):
    """Adds a hook's effects to those of the hooks before it."""
    if effects.HasField("answer"):
        forget_reply(total)
    if effects.clear_session or effects.HasField("session"):
        total.ClearField("session")
    later = {v.name for v in effects.values}
    kept = [v for v in total.values if v.name not in later]
    del total.values[:]
    total.values.extend(kept)
    total.MergeFrom(effects)


_CHANGES = ("method", "path", "query", "headers", "body", "session", "values", "status", "response_headers", "response_body", "answer")


def changed(effects):
    """The bits of HookOutcome.changed."""
    present = {field.name for field, _ in effects.ListFields()}
    if "clear_session" in present:
        present.add("session")
    return sum(1 << bit for bit, name in enumerate(_CHANGES) if name in present)
