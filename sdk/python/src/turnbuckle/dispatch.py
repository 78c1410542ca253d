"""Calls of Tyk's protocol, coprocess.Dispatcher/Dispatch: one hook on one Object (PROTOCOL.md part 2)."""

from __future__ import annotations

import inspect
import json
import logging
import time
from typing import Any, Dict, List, Optional, Tuple

from turnbuckle._pb import coprocess_object_pb2 as tyk
from turnbuckle._pb import plugin_pb2 as pb
from turnbuckle.call import CANCELED, MAX_ITEMS, TIMEOUT, describe
from turnbuckle.errors import Refusal
from turnbuckle.exchange import PHASES, Exchange, Route
from turnbuckle.message import SESSION
from turnbuckle.plugin import Hook, Plugin
from turnbuckle.syntax import octets

log = logging.getLogger("turnbuckle")

PHASE_OF = {1: 1, 2: 4, 3: 3, 4: 2, 5: 5}
"""The native phases of HookType's numbers."""
HOOK_TYPE_OF = {phase: number for number, phase in PHASE_OF.items()}
AUTH, RESPONSE = 2, 5

# gRPC's status codes.
ok, canceled, bad_object, deadline_exceeded, unimplemented, internal = 0, 1, 3, 4, 12, 13


class Dispatch:
    """One call of Dispatch, with what call.Call has too: next, run, start, ended, stop."""

    __slots__ = ("number", "object", "hook", "name", "x", "status", "result", "done", "answered", "waits", "begun")
    stream = None  # unlike a Call's

    def __init__(self, plugin: Plugin, number: int, data: bytes, due: float) -> None:
        self.number = number
        self.object = tyk.Object.FromString(data)
        phase = PHASE_OF.get(self.object.hook_type, 0)
        self.name = self.object.hook_name
        self.hook: Optional[Hook] = plugin.find(self.name, phase)
        self.x = _exchange(self.object, phase, due or None, self.hook is not None and self.hook.dispatch is None)
        self.status, self.result = ok, b""
        self.done, self.answered, self.begun = False, False, 0.0
        self.waits: Any = None
        if self.hook is None:
            self._end(unimplemented, "no hook %r in phase %s" % (self.name, PHASES[phase] or "0"))
        elif _entries(self.object) > MAX_ITEMS:
            self._end(bad_object, "the object has more than %d entries" % MAX_ITEMS)

    def next(self) -> Optional[Hook]:
        """The hook, as long as it has not run and somebody waits for it."""
        if self.done:
            return None
        due = self.x._due
        if due is not None and time.monotonic() >= due:
            self._end(deadline_exceeded, "the deadline passed before the hook ran")
            return None
        return self.hook

    def run(self, hook: Hook) -> float:
        """Runs the hook and returns the seconds it took. One that turns out to wait leaves what is to be awaited."""
        began = self.begun = time.monotonic()
        error: Optional[BaseException] = None
        try:
            result = hook.run(self.x) if hook.dispatch is None else hook.dispatch(self.object, self.x)
            if result is not None and inspect.isawaitable(result):
                self.waits = result
                return time.monotonic() - began
        except BaseException as e:  # sys.exit in a hook is a failure of that hook, and no more
            error = e
        took = time.monotonic() - began
        self.ended(hook, took, error)
        error = None  # it refers to this frame: a circle would be left to the collector, with the call
        return took

    def start(self, hook: Hook) -> Any:
        """Starts a hook that waits, and returns what is to be awaited. May raise what the hook does."""
        self.begun = time.monotonic()
        waits, self.waits = self.waits, None
        if waits is not None:
            return waits
        return hook.run(self.x) if hook.dispatch is None else hook.dispatch(self.object, self.x)

    def ended(self, hook: Hook, took: float, error: Optional[BaseException]) -> None:
        """Takes what the hook has done and how it ended."""
        if self.done:
            return
        refusal = error if isinstance(error, Refusal) else None
        if error is not None and refusal is None:
            self._end(internal, "hook %s: %s" % (self.name, describe(error)))
            return
        try:
            self._log()
            if hook.dispatch is None:
                answer(self.object, self.x, refusal)
            # Clients see the order of an answer's headers: it is not to be another one every time.
            self.result = self.object.SerializeToString(deterministic=len(self.object.request.return_overrides.headers) > 1)
            self.done = True
        except BaseException as e:  # of handlers of the log, too
            self._end(internal, "hook %s: %s" % (self.name, describe(e)))

    def _log(self) -> None:
        """The protocol carries no log lines back: they go to the worker's own log."""
        for _, level, message in self.x._logs or ():
            log.log(20 + level * 5 // 2, "%s: %s", self.name, message)

    def stop(self, code: int, message: str) -> None:
        """Ends a call whose hook runs or waits."""
        self.x._ended = True
        if not self.done:
            self._end({CANCELED: canceled, TIMEOUT: deadline_exceeded}.get(code, internal), message)

    def _end(self, status: int, message: str) -> None:
        self.status, self.result, self.done = status, message.encode("utf-8", "replace"), True


def _entries(o: Any) -> int:
    r = o.request
    return (len(o.metadata) + len(o.spec) + len(r.headers) + len(r.set_headers) + len(r.params) + len(r.add_params)
            + len(r.delete_headers) + len(r.delete_params) + len(o.response.headers) + len(o.response.multivalue_headers))


def _exchange(o: Any, phase: int, due: Optional[float], whole: bool) -> Exchange:
    """The exchange of an Object; without what only a hook of ours reads, if it is not to be whole."""
    call = pb.Call()
    if not whole:
        return Exchange(PHASES[phase], Route(), call, due)
    r = o.request
    path, _, query = r.url.partition("?")
    call.method, call.path, call.query = octets(r.method), octets(path), octets(query)
    call.scheme, call.host = octets(r.scheme), octets(r.headers.get("Host", ""))
    if r.request_uri != r.url:
        call.uri = octets(r.request_uri)
    for name in r.headers:
        if name != "Host":
            call.headers.add(name=name, value=octets(r.headers[name]))
    call.body = r.raw_body or octets(r.body)
    if o.HasField("session"):
        call.session.ParseFromString(o.session.SerializeToString())  # the numbers are the same
        call.session.metadata.update(o.metadata)
    if o.HasField("response"):
        reply = call.response
        reply.status, reply.body = o.response.status_code, o.response.raw_body or octets(o.response.body)
        lines = [(h.key, list(h.values)) for h in o.response.multivalue_headers] or [(k, [v]) for k, v in o.response.headers.items()]
        for name, values in lines:
            for value in values:
                reply.headers.add(name=name, value=octets(value))
    x = Exchange(PHASES[phase], Route(id=o.spec.get("APIID", ""), org=o.spec.get("OrgID", ""), bundle=o.spec.get("bundle_hash", "")), call, due)
    x._begin(0, octets(o.spec.get("config_data", "")))
    return x


def answer(o: Any, x: Exchange, refusal: Optional[Refusal]) -> None:
    """Writes into the Object what a hook of ours has changed (PROTOCOL.md 2.7)."""
    if x.phase == "response":
        _answer_response(o.response, x, refusal)
        return
    r = o.request
    q = x._request
    if q is not None:
        for name in {name.lower(): name for _, name, _ in q.headers._ops}.values():
            values = q.headers.get_all(name)
            if values:
                r.set_headers[name] = clean(("; " if name.lower() == "cookie" else ", ").join(values))
            else:
                r.delete_headers.append(name)
        _answer_query(r, q)
        r.method = clean(q.method)
        if q._body is not None:
            r.raw_body, r.body = q._body, as_text(q._body)
    overrides = r.return_overrides
    if refusal is not None:
        overrides.response_code, overrides.response_error = refusal.status, clean(refusal.message)
        for name, value in joined([(n, v.decode("utf-8", "surrogateescape")) for n, v in refusal.headers]).items():
            overrides.headers[name] = clean(value)
        return
    if x.answered:
        reply = x.response
        overrides.response_code, overrides.override_error = reply.status, reply.status >= 400
        overrides.response_body = reply.body.decode("utf-8", "replace")
        for name, value in joined(reply.headers.entries()).items():
            overrides.headers[name] = clean(value)
        return
    if x.phase == "auth" and x._changed & SESSION:
        o.ClearField("session")
        if x._session is not None:
            o.session.ParseFromString(x._session.SerializeToString())
            o.session.metadata["token"] = o.metadata["token"] = x._session.key_id


def _answer_query(r: Any, q: Any) -> None:
    before, after = _values(q._call.query), _values(q.query._raw)
    for name in {**before, **after}:
        if name not in after:
            r.delete_params.append(clean(name))
        elif before.get(name) != after[name]:
            r.add_params[clean(name)] = clean(after[name][0])
    r.url = clean(q.target)


def _values(raw: bytes) -> Dict[str, List[str]]:
    from turnbuckle.query import Query

    found: Dict[str, List[str]] = {}
    for name, value in Query(raw).entries():
        found.setdefault(name, []).append(value)
    return found


def _answer_response(r: Any, x: Exchange, refusal: Optional[Refusal]) -> None:
    reply = x.response
    status, body, lines = reply.status, reply.body, reply.headers.entries()
    if refusal is not None:
        status = refusal.status
        body = json.dumps({"error": refusal.message}, indent=4, ensure_ascii=False).encode("utf-8", "replace")
        lines = [("Content-Type", "application/json")] + [(n, v.decode("utf-8", "surrogateescape")) for n, v in refusal.headers]
    r.status_code, r.raw_body, r.body = status, body, as_text(body)
    r.headers.clear()
    del r.multivalue_headers[:]
    groups: Dict[str, Any] = {}
    for name, value in lines:
        group = groups.get(name.lower())
        if group is None:
            group = groups[name.lower()] = r.multivalue_headers.add(key=name)
            r.headers[name] = clean(value)
        group.values.append(clean(value))


def joined(lines: List[Tuple[str, str]]) -> Dict[str, str]:
    """One value for each name, those of several lines with commas between them (RFC 9110 §5.3)."""
    found: Dict[str, str] = {}
    names: Dict[str, str] = {}
    for name, value in lines:
        known = names.setdefault(name.lower(), name)
        found[known] = found[known] + ", " + value if known in found else value
    return found


def clean(value: str) -> str:
    """Text that a protobuf string can carry: what is no UTF-8 becomes U+FFFD."""
    if value.isascii():
        return value
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def as_text(body: bytes) -> str:
    """A body as text, empty when it is not UTF-8."""
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return ""
