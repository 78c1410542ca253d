"""The request and the reply of an exchange."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Optional

from turnbuckle.errors import NotAskedFor, ProtocolError
from turnbuckle.header import Headers
from turnbuckle.query import Query
from turnbuckle.syntax import Data, is_path, is_token, octets, text

if TYPE_CHECKING:
    from turnbuckle.exchange import Exchange

# The bits of HookOutcome.changed (PROTOCOL.md 1.6).
METHOD, PATH, QUERY, HEADER, BODY, SESSION, VALUES, STATUS, RESPONSE_HEADER, RESPONSE_BODY, ANSWER = (1 << n for n in range(11))


class Request:
    """A request as the hooks before have left it. What changes it reaches later hooks and the upstream."""

    __slots__ = ("headers", "_x", "_call", "_method", "_path", "_query", "_body")

    def __init__(self, x: Exchange, call: Any) -> None:
        self._x, self._call = x, call
        self._method: Optional[bytes] = None  # these are what hooks have set
        self._path: Optional[bytes] = None
        self._body: Optional[bytes] = None
        self._query: Optional[Query] = None  # made when it is asked for
        self.headers = Headers(call.headers)

    @property
    def method(self) -> str:
        """The method. It may be assigned."""
        return text(self._call.method if self._method is None else self._method)

    @method.setter
    def method(self, method: str) -> None:
        if not is_token(method):
            raise ProtocolError("no method: %.80r" % (method,))
        self._method = octets(method)
        self._x._changed |= METHOD

    @property
    def path(self) -> str:
        """The path with its escapes as they came and the listen path in it. It may be assigned."""
        return text(self._call.path if self._path is None else self._path)

    @path.setter
    def path(self, path: Data) -> None:
        data = octets(path)
        if not is_path(data):
            raise ProtocolError("no path: %.80r" % (path,))
        self._path = data
        self._x._changed |= PATH

    @property
    def query(self) -> Query:
        """The pairs behind the ?."""
        if self._query is None:
            self._query = Query(self._call.query, self._query_changed)
        return self._query

    def _query_changed(self, raw: bytes) -> None:
        self._x._changed |= QUERY

    @property
    def scheme(self) -> str:
        """http or https."""
        return text(self._call.scheme)

    @property
    def host(self) -> str:
        """The host the client asked for."""
        return text(self._call.host)

    @property
    def proto(self) -> str:
        """The protocol's version, such as HTTP/1.1."""
        return text(self._call.proto)

    @property
    def target(self) -> str:
        """Path and query as they stand."""
        raw = self.query.raw
        return self.path + "?" + raw if raw else self.path

    @property
    def uri(self) -> str:
        """The request target as the client sent it."""
        call = self._call
        return text(call.uri or (call.path + b"?" + call.query if call.query else call.path))

    @property
    def length(self) -> int:
        """The length of the body in bytes, -1 when it is not known."""
        if self._body is not None:
            return len(self._body)
        return len(self._call.body) if self._call.HasField("body") else self._call.length

    @property
    def body(self) -> bytes:
        """The whole body. It may be assigned: data, or None for none."""
        if self._body is not None:
            return self._body
        if not self._call.HasField("body"):
            raise NotAskedFor('the request body was not sent: the hook needs "body"')
        data: bytes = self._call.body
        return data

    @body.setter
    def body(self, data: Optional[Data]) -> None:
        self._body = b"" if data is None else octets(data)
        self._x._changed |= BODY

    def bytes(self) -> bytes:
        """The whole body."""
        return self.body

    def text(self) -> str:
        """The whole body as text."""
        return text(self.body)

    def json(self) -> Any:
        """The whole body, decoded from JSON."""
        return json.loads(self.body)

    def set_body(self, data: Optional[Data]) -> None:
        """Replaces the body; None empties it."""
        self.body = data  # type: ignore[assignment]


class Response:
    """The reply: the upstream's in the response phase, or what a hook has answered."""

    __slots__ = ("headers", "_x", "_message", "_status", "_body")

    def __init__(self, x: Exchange, message: Any) -> None:
        self._x, self._message = x, message  # message is None when a hook has answered
        self._status: Optional[int] = None
        self._body: Optional[bytes] = None
        self.headers = Headers(message.headers if message is not None else ())

    @property
    def status(self) -> int:
        """The status, 0 while there is no reply. It may be assigned."""
        if self._status is not None:
            return self._status
        return self._message.status if self._message is not None else 0

    @status.setter
    def status(self, status: int) -> None:
        self._status = checked_status(status)
        self._x._changed |= STATUS

    @property
    def length(self) -> int:
        """The length of the body in bytes, -1 when it is not known."""
        if self._body is not None:
            return len(self._body)
        if self._message is None:
            return 0
        return len(self._message.body) if self._message.HasField("body") else self._message.length

    @property
    def body(self) -> bytes:
        """The whole body. It may be assigned: data, or None for none."""
        if self._body is not None:
            return self._body
        if self._message is None:
            return b""
        if not self._message.HasField("body"):
            raise NotAskedFor('the body of the reply was not sent: the hook needs "response_body"')
        data: bytes = self._message.body
        return data

    @body.setter
    def body(self, data: Optional[Data]) -> None:
        self._body = b"" if data is None else octets(data)
        self._x._changed |= RESPONSE_BODY

    def bytes(self) -> bytes:
        """The whole body."""
        return self.body

    def text(self) -> str:
        """The whole body as text."""
        return text(self.body)

    def json(self) -> Any:
        """The whole body, decoded from JSON."""
        return json.loads(self.body)

    def set_body(self, data: Optional[Data]) -> None:
        """Replaces the body; None empties it."""
        self.body = data  # type: ignore[assignment]


def checked_status(status: int) -> int:
    """A status that HTTP can carry (RFC 9110 §15), else ProtocolError."""
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        raise ProtocolError("no status: %r: want 200 to 599" % (status,))
    return int(status)
