"""Running hooks with no gateway and no server, for tests of plugins."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

from turnbuckle import session as sessions
from turnbuckle._pb import plugin_pb2 as pb
from turnbuckle.call import Call, bind
from turnbuckle.errors import HeaderLines, LoadError, lines
from turnbuckle.exchange import LEVELS, PHASES, Exchange
from turnbuckle.header import Headers
from turnbuckle.message import Request, Response
from turnbuckle.plugin import NEEDS, Hook, Plugin, from_module, needs_bits
from turnbuckle.session import Session
from turnbuckle.syntax import Data, octets


@dataclass
class Failure:
    """Why a hook did not end well: status is 0 unless it refused on purpose."""

    status: int
    message: str
    headers: Headers = field(default_factory=Headers)


@dataclass
class Result:
    """What a hook did. outcome is ok, answered, refused or failed; after the last two nothing has changed."""

    outcome: str
    error: Optional[Failure]
    exception: Optional[BaseException]
    """What the hook raised, unless it refused."""
    request: Request
    reply: Response
    """The upstream's as it is now, or what the hook has answered; status 0 when there is none."""
    session: Optional[Session]
    values: Dict[str, Any]
    """What the hook has left for later ones, decoded from JSON; None is what it took away."""
    logs: List[Tuple[str, str]]
    counters: Dict[str, int]


@dataclass
class Reply:
    """The upstream's reply, for hooks of the response phase."""

    status: int = 200
    headers: HeaderLines = None
    body: Optional[Data] = None


def run(plugin: Union[Plugin, ModuleType], name: str, *, phase: str = "", method: str = "GET", path: str = "/", host: str = "localhost",
        scheme: str = "http", client: str = "127.0.0.1:40000", request_id: str = "test", headers: HeaderLines = None, body: Optional[Data] = None,
        session: Union[None, Session, Mapping[str, Any]] = None, values: Optional[Mapping[str, Any]] = None, config: Any = None,
        route: Optional[Mapping[str, str]] = None, reply: Optional[Reply] = None) -> Result:
    """Runs a hook of a plugin, or of a module that is served as a file. path may have a query. phase is by default the
    hook's own, response when there is a reply, else pre. What the hook does not need is not there."""
    plugin = plugin if isinstance(plugin, Plugin) else from_module(plugin, plugin.__name__)
    found = [number for known, number in plugin.hooks if known == name]
    if not phase and found:
        phase = PHASES[found[0]] or ("response" if reply is not None else "pre")
    number = PHASES.index(phase) if phase in PHASES[1:] else 0
    hook = plugin.find(name, number)
    if hook is None:
        raise LoadError("the plugin has no hook %r in phase %s" % (name, phase or "any"))
    target, _, query = path.partition("?")
    message = pb.Call(id=1, binding=1, method=octets(method), path=octets(target), query=octets(query), scheme=octets(scheme), host=octets(host),
                      proto=b"HTTP/1.1", request_id=request_id, client=client)
    for key, line in lines(headers):
        message.headers.add(name=key, value=line)
    message.body, message.length = octets(body or b""), len(octets(body or b""))
    if session is not None:
        sessions.to_message(session, message.session)
    for key, value in (values or {}).items():
        message.values.add(name=key, data=json.dumps(value).encode())
    if number == 5:
        _reply(message.response, reply or Reply())
    _narrow(message, hook)
    binding = pb.Binding(id=1, phase=number)
    binding.hooks.add(name=name, config=b"" if config is None else json.dumps(config).encode())
    for key, value in (route or {}).items():
        setattr(binding.route, key, value)
    call = Call(0, bind(plugin, binding), message, time.monotonic())
    error = _run(call, hook)
    return _result(call, message, error)


def _reply(message: Any, reply: Reply) -> None:
    message.status, message.body = reply.status, octets(reply.body or b"")
    message.length = len(message.body)
    for key, line in lines(reply.headers):
        message.headers.add(name=key, value=line)


def _narrow(message: Any, hook: Hook) -> None:
    """Takes away what a gateway would not send."""
    bits = hook.fields or needs_bits(["default"])
    needed = {name for n, name in enumerate(NEEDS) if bits & 1 << n}
    if "headers" not in needed:
        del message.headers[:]
    elif hook.header_names:
        wanted = {name.lower() for name in hook.header_names}
        kept = [(h.name, h.value) for h in message.headers if h.name.lower() in wanted]
        del message.headers[:]
        for name, value in kept:
            message.headers.add(name=name, value=value)
    for name, part in (("query", "query"), ("body", "body"), ("session", "session"), ("values", "values")):
        if name not in needed:
            message.ClearField(part)
    if "response_headers" not in needed:
        del message.response.headers[:]
    if "response_body" not in needed:
        message.response.ClearField("body")


def _run(call: Call, hook: Hook) -> Optional[BaseException]:
    """Runs the hook and returns what it raised."""
    error: Optional[BaseException] = None
    if call.next() is None:
        return None
    began = time.monotonic()
    try:
        result = hook.run(call.x)
        if inspect.isawaitable(result):
            asyncio.run(_wait(result))
    except BaseException as e:  # as in a worker
        error = e
    call.ended(hook, time.monotonic() - began, error)
    return error


async def _wait(result: Any) -> Any:
    return await result


def _result(call: Call, message: Any, raised: Optional[BaseException]) -> Result:
    reply = pb.Reply.FromString(call.serialized())
    x, outcome, error = call.x, "ok", None
    if reply.HasField("error"):
        outcome, error = "refused", Failure(reply.error.status, reply.error.message, Headers(list(reply.error.headers)))
    elif reply.HasField("failure"):
        outcome, error = "failed", Failure(0, reply.failure.message)
    elif x.answered:
        outcome = "answered"
    if error is not None:
        x = Exchange(x.phase, x.route, message)
    names = {number: name for name, number in LEVELS.items() if name != "warning"}
    return Result(
        outcome, error, raised if outcome == "failed" else None, x.request, x.response, x.session,
        {v.name: json.loads(v.data) if v.HasField("data") else None for v in reply.effects.values},
        [(names[log.level], log.message) for log in reply.logs], {c.name: c.delta for c in reply.counters},
    )


__all__ = ["Failure", "Reply", "Result", "run"]
