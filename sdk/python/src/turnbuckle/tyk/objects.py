"""What an exchange is as an Object of Tyk's protocol (PROTOCOL.md 2.1)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Dict, Iterable, List, Optional, Tuple
from urllib.parse import unquote_to_bytes

from turnbuckle._pb import coprocess_object_pb2 as tyk
from turnbuckle._pb.coprocess_session_state_pb2 import SessionState
from turnbuckle.exchange import Exchange, Route
from turnbuckle.syntax import octets

HOOK_TYPES = {"pre": 1, "auth": 4, "post_key_auth": 3, "post": 2, "response": 5}
_NO_BUNDLE = "d41d8cd98f00b204e9800998ecf8427e"  # MD5 of no name
_NOT_TOKEN = frozenset('()<>@,;:\\"/[]?={}')

Groups = List[Tuple[str, List[str]]]
"""Header names in canonical form, each with all its values, in the order in which names first occur."""


class Sent:
    """An Object and what has to be known of it when it has come back."""

    __slots__ = ("object", "path", "query", "method", "body", "groups", "reply_body", "session")

    def __init__(self, o: Any) -> None:
        self.object = o
        self.path = self.query = self.method = ""
        self.body = self.reply_body = b""
        self.groups: Groups = []
        self.session = b""


def valid(data: bytes) -> str:
    """Text that a string of a message can carry."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


@lru_cache(maxsize=4096)
def canonical(name: str) -> str:
    """A header name as Tyk's gateway spells it."""
    if any(c <= " " or c >= "\x7f" or c in _NOT_TOKEN for c in name):
        return name
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))


@lru_cache(maxsize=1024)
def _template(phase: str, name: str, route: Route, config: bytes) -> bytes:
    """What all Objects for a hook of a route have in common."""
    o = tyk.Object(hook_type=HOOK_TYPES.get(phase, 0), hook_name=name)
    o.spec["OrgID"], o.spec["APIID"], o.spec["bundle_hash"] = route.org, route.id, route.bundle or _NO_BUNDLE
    if config:
        o.spec["config_data"] = valid(config)
    o.request.return_overrides.response_code = -1
    return bytes(o.SerializeToString())


def object_of(x: Exchange, name: str) -> Sent:
    """The Object that calls the named hook on x as it is now."""
    o = tyk.Object.FromString(_template(x.phase, name, x.route, x._config))
    sent = Sent(o)
    _request(o.request, x, sent)
    phase = x.phase
    if phase == "response":
        _session(o, x, sent)
        _response(o.response, x, sent)
    elif phase in ("post", "post_key_auth") and x._message() is not None:
        _session(o, x, sent)
        o.metadata.update(o.session.metadata)
    return sent


def _request(r: Any, x: Exchange, sent: Sent) -> None:
    q = x._request
    call = x._call
    if q is None:  # no hook has looked at it yet
        method, path, query, body = call.method, call.path, call.query, call.body
        lines: Iterable[Any] = call.headers
    else:
        method, path, query = octets(q.method), octets(q.path), octets(q.query.raw)
        body = call.body if q._body is None else q._body
        lines = q.headers.lines()
    headers = r.headers
    for f in lines:
        key = canonical(f.name)
        if key not in headers:
            headers[key] = valid(f.value)
    headers["Host"] = valid(call.host)
    sent.method, sent.path, sent.body = valid(method), valid(path), body
    r.method, r.scheme = sent.method, valid(call.scheme)
    r.url = sent.path
    if query:
        sent.query = valid(query)
        r.url = sent.path + "?" + sent.query
        params = r.params
        for key, value in pairs(query):
            if key not in params:
                params[key] = value
    if call.uri:
        r.request_uri = valid(call.uri)
    else:
        r.request_uri = valid(call.path + b"?" + call.query if call.query else call.path)
    if body:
        r.raw_body = body
        r.body = text(body)


def _session(o: Any, x: Exchange, sent: Sent) -> None:
    message = x._message()
    if message is None:
        o.session.SetInParent()
    else:
        o.session.ParseFromString(message.SerializeToString())  # the numbers are the same


def _response(r: Any, x: Exchange, sent: Sent) -> None:
    reply = x.response
    message = reply._message
    body = reply._body
    if body is None:
        body = message.body if message is not None else b""
    r.status_code, sent.reply_body = reply.status, body
    if body:
        r.raw_body, r.body = body, text(body)
    sent.groups = grouped((f.name, f.value) for f in reply.headers.lines())
    for name, values in sent.groups:
        r.headers[name] = values[0]
        r.multivalue_headers.add(key=name, values=values)


def grouped(lines: Iterable[Tuple[str, bytes]]) -> Groups:
    """Header lines by name."""
    groups: Dict[str, List[str]] = {}
    for name, value in lines:
        groups.setdefault(canonical(name), []).append(valid(value))
    return list(groups.items())


def text(body: bytes) -> str:
    """A body as text, empty when it is not UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return ""


def pairs(query: bytes) -> List[Tuple[str, str]]:
    """The pairs of a query as Tyk's gateway reads them: those with a semicolon or broken escapes are none."""
    found = []
    for part in query.split(b"&"):
        if part and b";" not in part:
            name, _, value = part.partition(b"=")
            one, other = _unescape(name), _unescape(value)
            if one is not None and other is not None:
                found.append((one, other))
    return found


def _unescape(part: bytes) -> Optional[str]:
    if b"%" not in part:
        return valid(part.replace(b"+", b" "))
    for hexes in part.split(b"%")[1:]:
        try:
            int(hexes[:2].decode("ascii"), 16) if len(hexes) >= 2 and hexes[:2].isalnum() else int("")
        except ValueError:
            return None
    return valid(unquote_to_bytes(part.replace(b"+", b" ")))
