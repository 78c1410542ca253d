"""What a hook sees and changes: one request and its reply on their way through the gateway."""

from __future__ import annotations

import json
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

from turnbuckle import session as sessions
from turnbuckle.errors import HeaderLines, NotAskedFor, ProtocolError, Refusal, lines
from turnbuckle.message import ANSWER, HEADER, RESPONSE_BODY, RESPONSE_HEADER, SESSION, STATUS, VALUES, Request, Response, checked_status
from turnbuckle.peer import Peer, parse
from turnbuckle.session import Session
from turnbuckle.syntax import Data, octets

PHASES = ("", "pre", "auth", "post_key_auth", "post", "response")
"""The phases' names, by the numbers they have on the wire."""

LEVELS = {"debug": -4, "info": 0, "warn": 4, "warning": 4, "error": 8}
_MOST = 256  # log lines and counters of one call
_LONGEST = 4096  # bytes of a log line
_NONE = (0, 0)
MAX_CHANGES = 4_096  # of headers, in each direction (PROTOCOL.md 1.9)


class Route(NamedTuple):
    """The definition that an exchange runs under."""

    id: str = ""
    name: str = ""
    org: str = ""
    listen_path: str = ""
    bundle: str = ""


class Trace(NamedTuple):
    """The trace context (W3C Trace Context §3): the values of traceparent and tracestate."""

    parent: str = ""
    state: str = ""


class Exchange:
    """A request, its reply, who calls, and what hooks leave for one another. It is for one call of a hook, on the thread or
    loop that runs it; keep nothing of it. What a hook did not ask for with its needs may be absent."""

    __slots__ = ("phase", "route", "answered", "_request", "_response", "_changed", "_call", "_config", "_parsed", "_session",
                 "_values", "_logs", "_counters", "_hook", "_due", "_ended", "_marks", "_answer")

    def __init__(self, phase: str, route: Route, call: Any, due: Optional[float] = None) -> None:
        self.phase, self.route = phase, route
        self.answered = False
        self._call, self._due, self._ended = call, due, False
        self._changed, self._hook, self._answer = 0, 0, False
        self._request: Optional[Request] = None
        self._response: Optional[Response] = None
        self._config: bytes = b""
        self._parsed: Any = None
        self._session: Any = call  # call: not looked at yet; else a message or None
        self._values: Optional[Dict[str, Optional[bytes]]] = None  # what hooks of this call have set
        self._logs: Optional[List[Tuple[int, int, str]]] = None
        self._counters: Optional[Dict[Tuple[int, str], int]] = None
        self._marks = _NONE  # how many changes of headers there were before this hook

    def _begin(self, index: int, config: bytes) -> None:
        """The hook with that index in the binding is next."""
        self._config = config
        if index:
            self._hook, self._parsed, self._changed = index, None, 0
            q, r = self._request, self._response
            self._marks = len(q.headers._ops) if q is not None else 0, len(r.headers._ops) if r is not None else 0

    def _changes(self) -> int:
        """The bits of what this hook has changed. Raises ProtocolError when the hooks have changed more than they may."""
        bits, q, r = self._changed, self._request, self._response
        if q is not None:
            n = len(q.headers._ops)
            if n > self._marks[0]:
                bits |= HEADER
                if n > MAX_CHANGES:
                    raise ProtocolError("more than %d changes of headers" % MAX_CHANGES)
        if r is not None:
            n = len(r.headers._ops)
            if n > self._marks[1]:
                bits |= RESPONSE_HEADER
                if n > MAX_CHANGES:
                    raise ProtocolError("more than %d changes of headers" % MAX_CHANGES)
        return bits

    def _let_go(self) -> None:
        """Gives up what refers back to this: it is freed then, and not left to the collector."""
        self._request = self._response = None

    @property
    def request(self) -> Request:
        """The request."""
        request = self._request
        if request is None:
            request = self._request = Request(self, self._call)
        return request

    @property
    def response(self) -> Response:
        """The reply in the response phase, and once a hook has answered; its status is 0 before."""
        response = self._response
        if response is None:
            response = self._response = Response(self, self._call.response)
        return response

    @property
    def config(self) -> Any:
        """The configuration of the hook, else of its route, decoded from JSON; None when there is none."""
        if self._parsed is None and self._config:
            self._parsed = json.loads(self._config)
        return self._parsed

    @property
    def client(self) -> str:
        """The client's address."""
        return self._address()[0]

    @property
    def client_port(self) -> int:
        """The client's port."""
        return int(self._address()[1] or 0)

    def _address(self) -> Tuple[str, str]:
        host, _, port = self._call.client.rpartition(":")
        return host[1:-1] if host[:1] == "[" else host, port

    @property
    def request_id(self) -> str:
        """The same in logs, records and traces."""
        return str(self._call.request_id)

    @property
    def trace(self) -> Trace:
        """The trace context that a call to elsewhere should carry."""
        return Trace(self._call.traceparent, self._call.tracestate)

    @property
    def peer(self) -> Optional[Peer]:
        """The certificate that the client presented; None without one, and for hooks that do not need "peer"."""
        chain = self._call.peer_certificates
        return parse(list(chain)) if chain else None

    @property
    def remaining(self) -> Optional[float]:
        """Seconds until the call's deadline, at least 0; None when it has none."""
        return None if self._due is None else max(0.0, self._due - time.monotonic())

    @property
    def ended(self) -> bool:
        """Whether nobody waits for the hook any more: the client has left, or the deadline has passed. A function that takes
        long should look now and then; an async function is cancelled instead."""
        return self._ended or self._due is not None and time.monotonic() >= self._due

    def answer(self, status: int, headers: HeaderLines = None, body: Optional[Data] = None) -> Response:
        """Answers at once: nothing goes upstream, and no later hook is called. In the response phase it replaces the reply.
        The hook goes on; what is returned, and x.response from here on, is the answer."""
        response = Response(self, None)
        response._status = checked_status(status)
        response._body = b"" if body is None else octets(body)
        for name, value in lines(headers):
            response.headers._note(2, name, value)
        self._response, self.answered, self._answer = response, True, True
        self._marks = (self._marks[0], 0)
        self._changed = self._changed & ~(STATUS | RESPONSE_BODY) | ANSWER
        return response

    def refuse(self, status: int, message: str = "", headers: HeaderLines = None) -> None:
        """Ends the hook and the exchange with an error reply that the gateway makes: it raises Refusal."""
        raise Refusal(status, message, headers)

    @property
    def session(self) -> Optional[Session]:
        """A copy of who calls; None when nobody is known. set_session changes it."""
        message = self._message()
        return None if message is None else sessions.from_message(message)

    def _message(self) -> Any:
        if self._session is self._call:
            self._session = self._call.session if self._call.HasField("session") else None
        return self._session

    def set_session(self, session: Union[None, Session, Mapping[str, Any]]) -> None:
        """Says who calls, all of it, with a Session or a mapping with names of its fields; None: nobody."""
        self._session = None if session is None else sessions.to_message(session)
        self._changed |= SESSION

    def authenticate(self, key: str, alias: str = "") -> None:
        """Says who calls: a session with that key and alias, and nothing else."""
        self.set_session({"key_id": key, "alias": alias})

    def value(self, name: str, default: Any = None) -> Any:
        """What an earlier hook left under name, decoded from JSON; default when nothing."""
        data = self.raw_value(name)
        return default if data is None else json.loads(data)

    def set_value(self, name: str, value: Any) -> None:
        """Leaves what JSON can carry for later hooks; None takes it away."""
        self.set_raw_value(name, None if value is None else json.dumps(value, separators=(",", ":")))

    def raw_value(self, name: str) -> Optional[bytes]:
        """What an earlier hook left under name, as it travels; None when nothing."""
        if self._values is not None and name in self._values:
            return self._values[name]
        found = None
        for v in self._call.values:
            if v.name == name:
                found = v.data if v.HasField("data") else None
        return found

    def set_raw_value(self, name: str, data: Optional[Data]) -> None:
        """Leaves data for later hooks, JSON by convention; None takes it away."""
        if self._values is None:
            self._values = {}
        self._values[name] = None if data is None else octets(data)
        self._changed |= VALUES

    def log(self, level: str, message: str) -> None:
        """Writes a line to the gateway's log, under the hook's name: "debug", "info", "warn" or "error"."""
        number = LEVELS.get(level)
        if number is None:
            raise ValueError("no level of a log: %r" % (level,))
        if self._logs is None:
            self._logs = []
        if len(self._logs) < _MOST:
            self._logs.append((self._hook, number, cut(str(message))))

    def count(self, name: str, delta: int = 1) -> None:
        """Adds to a counter of the hook's own, in the gateway's metrics."""
        if self._counters is None:
            self._counters = {}
        key = (self._hook, str(name))
        if key in self._counters or len(self._counters) < _MOST:
            self._counters[key] = self._counters.get(key, 0) + int(delta)


def cut(message: str) -> str:
    """The message, no longer than a log line may be."""
    if len(message) * 4 <= _LONGEST:
        return message.encode("utf-8", "replace").decode() if not message.isascii() else message
    return message.encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore")


__all__ = ["Exchange", "Route", "Trace", "PHASES", "NotAskedFor"]
