"""One call of the native protocol (PROTOCOL.md 1.5, 1.6): its hooks in order, and the reply."""

from __future__ import annotations

import inspect
import time
from typing import Any, List, Optional, Sequence, Tuple

from turnbuckle import wire
from turnbuckle.errors import ProtocolError, Refusal
from turnbuckle.exchange import PHASES, Exchange, Route, cut
from turnbuckle.message import ANSWER, BODY, METHOD, PATH, QUERY, RESPONSE_BODY, RESPONSE_HEADER, SESSION, STATUS
from turnbuckle.plugin import Hook, Plugin

# The bounds of PROTOCOL.md 1.9.
MAX_LINES, MAX_ITEMS, MAX_HOOKS, MAX_TIMEOUT = 16_384, 65_536, 256, 86_400_000_000
FRAME_BYTES = (4 << 20) - (64 << 10)  # of a message any gRPC peer takes, with some room

_LEAST = -(1 << 63)
_RESPONSE = PHASES.index("response")
FAILED, TIMEOUT, CANCELED, UNIMPLEMENTED, OVERLOADED, UNAVAILABLE, PROTOCOL = range(1, 8)


class Binding:
    """What many calls have in common: the hooks, each None when the plugin does not have it, with their configurations."""

    __slots__ = ("phase", "name", "names", "hooks", "configs", "route")

    def __init__(self, phase: int, names: Sequence[str], hooks: Sequence[Optional[Hook]], configs: Sequence[bytes], route: Route) -> None:
        self.phase, self.names, self.hooks, self.configs, self.route = phase, names, hooks, configs, route
        self.name = PHASES[phase] if 0 <= phase < len(PHASES) else ""


def bind(plugin: Plugin, message: Any) -> Binding:
    """The binding that a message names. Raises ProtocolError for one that is over a bound."""
    if len(message.hooks) > MAX_HOOKS:
        raise ProtocolError("a binding with %d hooks: at most %d" % (len(message.hooks), MAX_HOOKS))
    r = message.route
    return Binding(
        message.phase,
        [use.name for use in message.hooks],
        [plugin.find(use.name, message.phase) for use in message.hooks],
        [use.config or r.config for use in message.hooks],
        Route(r.id, r.name, r.org, r.listen_path, r.bundle),
    )


class Call:
    """A call that runs. next and run, or ended, in turn until it is done."""

    __slots__ = ("id", "stream", "binding", "x", "index", "arrived", "begun", "queued", "total", "effects", "outcomes", "end", "done",
                 "answered", "waits")

    def __init__(self, stream: Any, binding: Binding, message: Any, arrived: float) -> None:
        self.id: int = message.id
        self.stream, self.binding, self.arrived = stream, binding, arrived
        timeout = message.timeout_us
        self.x = Exchange(binding.name, binding.route, message, arrived + min(timeout, MAX_TIMEOUT) / 1e6 if timeout else None)
        self.index = 0  # of the hook that is next or runs
        self.begun = 0.0
        self.queued = 0.0  # seconds until the first hook
        self.total = 0  # bits of what the hooks that ended well have changed
        self.effects = b""  # of the hooks that ended well, once no more are to come, or more are
        self.outcomes = b""  # fields of the reply
        self.end = b""  # the field of the reply that says how the call ended, if not well
        self.done = False
        self.answered = False  # the reply has been sent, or another in its place
        self.waits: Any = None  # what a plain function returned that turned out to be asynchronous

    def check(self) -> bool:
        """Whether the call is within the bounds; else it is done, with a failure."""
        m = self.x._call
        if len(m.headers) > MAX_LINES or len(m.response.headers) > MAX_LINES or len(m.values) > MAX_ITEMS or len(m.peer_certificates) > MAX_ITEMS:
            self.fail(PROTOCOL, "the call has more header lines, values or certificates than one may have")
            return False
        return True

    def next(self) -> Optional[Hook]:
        """The hook to run now, or None: the call is done."""
        if self.done:
            return None
        index, binding, x = self.index, self.binding, self.x
        if index >= len(binding.hooks):
            self.done = True
            return None
        hook = binding.hooks[index]
        if hook is None:
            self.outcomes += wire.outcome(index, 0.0, 0)
            self.fail(UNIMPLEMENTED, "no hook %s in phase %s" % (binding.names[index], x.phase or binding.phase))
            return None
        if not index:
            now = time.monotonic()
            self.queued = now - self.arrived
            if x._due is not None and now >= x._due:
                self.fail(TIMEOUT, "the deadline passed before the hook ran")
                return None
        x._begin(index, binding.configs[index])
        return hook

    def run(self, hook: Hook) -> float:
        """Runs a plain hook and returns the seconds it took. One that turns out to wait leaves what is to be awaited."""
        began = self.begun = time.monotonic()
        error: Optional[BaseException] = None
        try:
            result = hook.run(self.x)
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
        return hook.run(self.x) if waits is None else waits

    def ended(self, hook: Hook, took: float, error: Optional[BaseException]) -> None:
        """Takes what a hook has done and how it ended."""
        if self.done:
            return  # nobody waited
        bits = 0
        if error is None:
            try:
                bits = self.x._changes()
                self.total = bits | (self.total if not bits & ANSWER else self.total & ~(STATUS | RESPONSE_HEADER | RESPONSE_BODY))
                last = self.index + 1 == len(self.binding.hooks) or bits & ANSWER and self.binding.phase != _RESPONSE
                if self.total:
                    self.effects = effects_of(self.x, self.total)
            except Exception as e:  # what no message can carry
                error, bits = e, 0
        self.outcomes += wire.outcome(self.index, took, bits)
        if error is not None:
            self._failed(error)
            return
        self.index += 1
        self.done = bool(last)

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, Refusal):
            try:
                self.end = wire.field(b"\x1a", wire.error(error.status, error.message, error.headers))
                self.done = True
                return
            except Exception as e:  # the hook has made something else of it
                error = e
        if isinstance(error, ProtocolError):
            self.fail(PROTOCOL, said(error))
        else:
            self.fail(FAILED, describe(error))

    def fail(self, code: int, message: str) -> None:
        """Ends the call with a failure."""
        self.end = wire.field(b"\x22", wire.failure(code, cut(message)))
        self.done = True

    def stop(self, code: int, message: str) -> None:
        """Ends a call whose hook runs or waits: what that hook has changed is lost."""
        self.x._ended = True
        if not self.done:
            if self.index < len(self.binding.hooks) and self.begun:
                self.outcomes += wire.outcome(self.index, time.monotonic() - self.begun, 0)
            self.fail(code, message)

    def serialized(self) -> bytes:
        """The reply as it travels; a failure in place of one that is larger than a frame."""
        parts = [b"\x08", wire.number(self.id)]
        if self.effects:
            parts.append(wire.field(b"\x12", self.effects))
        parts += (self.end, self.outcomes)
        x = self.x
        if x._logs is not None:
            parts += [wire.field(b"\x32", wire.log_line(hook, level, message)) for hook, level, message in x._logs]
        if x._counters is not None:
            parts += [wire.field(b"\x3a", wire.counter(hook, name, max(_LEAST, min(delta, -1 - _LEAST))))
                      for (hook, name), delta in list(x._counters.items())]
        if self.queued > 0:
            parts += (b"\x40", wire.number(int(self.queued * 1e6)))
        data = b"".join(parts)
        if len(data) > FRAME_BYTES - 64:
            return wire.failed(self.id, FAILED, "the reply has %d bytes: at most %d" % (len(data), FRAME_BYTES - 64))
        return data


def effects_of(x: Exchange, bits: int) -> bytes:
    """What the hooks of a call have changed: the content of an Effects."""
    parts: List[bytes] = []
    q = x._request
    if q is not None:
        if bits & (METHOD | PATH | QUERY):
            if bits & METHOD:
                parts.append(wire.field(b"\x0a", q._method))  # type: ignore[arg-type]
            if bits & PATH:
                parts.append(wire.field(b"\x12", q._path))  # type: ignore[arg-type]
            if bits & QUERY:
                parts.append(wire.field(b"\x1a", q._query._raw))  # type: ignore[union-attr]
        for kind, name, value in q.headers._ops:
            parts.append(wire.header_op(b"\x22", kind, name, value))
        if bits & BODY:
            parts.append(wire.field(b"\x2a", q._body))  # type: ignore[arg-type]
    if bits & SESSION:
        parts.append(b"\x38\x01" if x._session is None else wire.field(b"\x32", x._session.SerializeToString()))
    if x._values:
        parts += [wire.field(b"\x42", wire.value(name, data)) for name, data in x._values.items()]
    r = x._response
    if r is None:
        return b"".join(parts)
    if x._answer:
        lines = [(name, value) for _, name, value in r.headers._read()]
        parts.append(wire.field(b"\x4a", wire.response(r.status, lines, r.body)))
        return b"".join(parts)
    if bits & STATUS:
        parts.append(b"\x50" + wire.number(r._status))  # type: ignore[arg-type]
    for kind, name, value in r.headers._ops:
        parts.append(wire.header_op(b"\x5a", kind, name, value))
    if bits & RESPONSE_BODY:
        parts.append(wire.field(b"\x62", r._body))  # type: ignore[arg-type]
    return b"".join(parts)


def describe(error: BaseException) -> str:
    """The failure's message for the gateway's log: what was raised and where, without the values that were involved."""
    where: List[Tuple[str, int]] = []
    trace = error.__traceback__
    while trace is not None:
        where.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    at = " (%s, line %d)" % (where[-1][0].rsplit("/", 1)[-1], where[-1][1]) if where else ""
    return "%s: %s%s" % (type(error).__name__, said(error), at)


def said(error: BaseException) -> str:
    """What an error says, whatever it does when it is asked."""
    try:
        return str(error)
    except BaseException:
        return "what it says cannot be read"
