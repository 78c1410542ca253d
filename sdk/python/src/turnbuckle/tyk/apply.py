"""How an Object that came back changes the exchange (PROTOCOL.md 2.2, 2.3, 2.5), for calls in the native protocol."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import quote_plus, urlsplit

from turnbuckle._pb import session_pb2
from turnbuckle.errors import ProtocolError, Refusal
from turnbuckle.exchange import Exchange
from turnbuckle.message import SESSION
from turnbuckle.syntax import octets
from turnbuckle.tyk.objects import Groups, Sent, canonical, pairs

Target = Tuple[Optional[str], Optional[str]]


def apply(x: Exchange, sent: Sent) -> None:
    """Makes the changes to x. Raises Refusal when the return overrides refuse the request."""
    o = sent.object
    if x.phase == "response":
        _apply_response(x, o.response, sent)
        return
    r = o.request
    overrides = r.return_overrides
    code = overrides.response_code
    path, query = _target(r, sent)
    if r.raw_body != sent.body:
        x.request.body = r.raw_body
    if r.delete_headers:
        for name in r.delete_headers:
            if name.lower() != "host" and x.request.headers.has(name):
                x.request.headers.delete(name)
    if r.set_headers:
        for name, value in r.set_headers.items():
            name = canonical(name)
            if name != "Host":
                x.request.headers.set(name, value)
    if path is not None:
        x.request.path = path
    if query is not None:
        x.request.query.raw = query
    if r.method and r.method != sent.method:
        x.request.method = r.method
    if code >= 400 and not overrides.override_error:
        raise _refusal(overrides)
    if code > 0:
        lines = [(canonical(n), v) for n, v in overrides.headers.items() if canonical(n) != "Content-Length"]
        x.answer(code, lines, overrides.response_error or overrides.response_body)
    elif x.phase == "auth":
        _identify(x, o)


def _refusal(overrides: Any) -> Refusal:
    lines = [(canonical(n), v) for n, v in overrides.headers.items()]
    message = overrides.response_error or overrides.response_body or "Key not authorised"
    return Refusal(overrides.response_code, message, [line for line in lines if line[0] not in ("Content-Type", "Content-Length")])


def _target(r: Any, sent: Sent) -> Target:
    """What becomes of path and query, None when nothing. The current query with delete_params and add_params is the base; the
    returned url is taken, but a query of it that is not the base gives way to the base, sorted."""
    same = r.url == (sent.path + "?" + sent.query if sent.query else sent.path)
    if same and not r.add_params and not r.delete_params:
        return None, None
    path, returned = sent.path, sent.query
    if not same:
        path, returned = _split(r.url)
    base: Dict[str, List[str]] = _values(sent.query)
    for name in r.delete_params:
        base.pop(name, None)
    for name, value in r.add_params.items():
        base[name] = [value]
    if base != _values(returned):
        returned = "&".join(quote_plus(n) + "=" + quote_plus(v) for n in sorted(base, key=octets) for v in base[n])
    return (None if path == sent.path else path), (None if returned == sent.query else returned)


def _split(url: str) -> Tuple[str, str]:
    if url.startswith("/"):
        path, _, query = url.partition("?")
        return path, query
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None  # type: ignore[assignment]
    if parts is None or not parts.scheme or not parts.netloc:
        raise ProtocolError("the url %.64r is neither a path nor a URL with a host" % url)
    return parts.path or "/", parts.query


def _values(query: str) -> Dict[str, List[str]]:
    found: Dict[str, List[str]] = {}
    for name, value in pairs(octets(query)):
        found.setdefault(name, []).append(value)
    return found


def _identify(x: Exchange, o: Any) -> None:
    """Takes the session. Without session or token nobody is identified."""
    session = session_pb2.Session()
    if o.HasField("session"):
        session.ParseFromString(o.session.SerializeToString())
        session.metadata.update(o.metadata)
    token = session.metadata["token"] if "token" in session.metadata else ""
    if not token:
        x.set_session(None)
        return
    session.key_id, session.org_id = token, x.route.org
    x._session = session
    x._changed |= SESSION


def _apply_response(x: Exchange, r: Any, sent: Sent) -> None:
    reply = x.response
    want: Groups = [(h.key, list(h.values)) for h in r.multivalue_headers]
    first = dict(r.headers)
    if want != sent.groups or first != {name: values[0] for name, values in sent.groups}:
        if first != {name: values[0] for name, values in sent.groups}:
            want = _merged(want, first)
        _write_headers(reply.headers, sent.groups, want)
    if r.raw_body != sent.reply_body:
        reply.body = r.raw_body
    if r.status_code and r.status_code != reply.status:
        reply.status = r.status_code


def _merged(groups: Groups, first: Dict[str, str]) -> Groups:
    """First values replaced by those of the map, without names that it lacks, with those that are new."""
    known = {name for name, _ in groups}
    kept = [(name, [first[name]] + values[1:]) for name, values in groups if name in first]
    return kept + [(name, [first[name]]) for name in sorted(first) if name not in known]


def _write_headers(headers: Any, sent: Groups, want: Groups) -> None:
    """Makes what was sent what is wanted; what is equal stays where it is."""
    wanted: Dict[str, List[str]] = {}
    for name, values in want:
        wanted.setdefault(canonical(name), []).extend(values)
    for name, values in sent:
        now = wanted.pop(name, [])
        if now != values:
            headers.set(name, now)
    for name, values in wanted.items():
        headers.set(name, values)
