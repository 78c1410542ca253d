"""One call of the native protocol (PROTOCOL.md 1.5, 1.6): its hooks in order, and the reply."""

from __future__ import annotations

import inspect
import time
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from turnbuckle._pb import plugin_pb2 as pb
from turnbuckle.errors import ProtocolError, Refusal
from turnbuckle.exchange import PHASES, Exchange, Route, cut
from turnbuckle.message import ANSWER, BODY, METHOD, PATH, QUERY, RESPONSE_BODY, RESPONSE_HEADER, SESSION, STATUS
from turnbuckle.plugin import Hook, Plugin

# The bounds of PROTOCOL.md 1.9.
MAX_LINES, MAX_CHANGES, MAX_ITEMS, MAX_HOOKS, MAX_TIMEOUT = 16_384, 4_096, 65_536, 256, 86_400_000_000
FRAME_BYTES = (4 << 20) - (64 << 10)  # of a message any gRPC peer takes, with some room

FAILED, TIMEOUT, CANCELED, UNIMPLEMENTED, OVERLOADED, UNAVAILABLE, PROTOCOL = range(1, 8)


class Binding(NamedTuple):
    """What many calls have in common: the hooks, each None when the plugin does not have it, with their configurations."""

    phase: int
    names: Sequence[str]
    hooks: Sequence[Optional[Hook]]
    configs: Sequence[bytes]
    route: Route


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

    __slots__ = ("id", "stream", "binding", "x", "index", "reply", "arrived", "begun", "total", "effects", "done", "answered", "waits")

    def __init__(self, stream: int, binding: Binding, message: Any, arrived: float) -> None:
        self.id: int = message.id
        self.stream, self.binding, self.arrived = stream, binding, arrived
        timeout = message.timeout_us
        due = arrived + min(timeout, MAX_TIMEOUT) / 1e6 if timeout else None
        phase = binding.phase
        self.x = Exchange(PHASES[phase] if 0 <= phase < len(PHASES) else "", binding.route, message, due)
        self.index = 0  # of the hook that is next or runs
        self.total = 0  # bits of what the hooks that ended well have changed
        self.effects: Optional[bytes] = None  # of the hooks that ended well, when more are to come
        self.reply = pb.Reply(id=self.id)
        self.begun = 0.0
        self.done = False  # the reply is complete
        self.answered = False  # it has been sent, or another in its place
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
        if self.index >= len(self.binding.hooks):
            self._end()
            return None
        hook = self.binding.hooks[self.index]
        if hook is None:
            self._keep()
            self.reply.outcomes.add(hook=self.index)
            self.fail(UNIMPLEMENTED, "no hook %s in phase %s" % (self.binding.names[self.index], self.x.phase or self.binding.phase))
            return None
        x = self.x
        if not self.index:
            now = time.monotonic()
            self.reply.queued_us = max(0, int((now - self.arrived) * 1e6))
            if x._due is not None and now >= x._due:
                self.fail(TIMEOUT, "the deadline passed before the hook ran")
                return None
        x._begin(self.index, self.binding.configs[self.index])
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
        x = self.x
        if error is None:
            ops = x._ops()
            if ops[0] > MAX_CHANGES or ops[1] > MAX_CHANGES:
                error = ProtocolError("more than %d changes of headers" % MAX_CHANGES)
        outcome = self.reply.outcomes.add(hook=self.index, duration_us=int(took * 1e6))
        if error is not None:
            self._keep()
            self._failed(hook, error)
            return
        bits = x._changes()
        outcome.changed = bits
        if bits & ANSWER:
            self.total &= ~(STATUS | RESPONSE_HEADER | RESPONSE_BODY)
        self.total |= bits
        self.index += 1
        if self.index == len(self.binding.hooks) or bits & ANSWER and self.binding.phase != pb.PHASE_RESPONSE:
            self._end()
        elif self.total:
            self.effects = effects_of(x, self.total, pb.Effects()).SerializeToString()

    def _failed(self, hook: Hook, error: BaseException) -> None:
        if isinstance(error, Refusal):
            refusal = self.reply.error
            refusal.status, refusal.message = error.status, error.message.encode("utf-8", "replace").decode()
            for name, value in error.headers:
                refusal.headers.add(name=name, value=value)
            self._wrap_up()
        elif isinstance(error, ProtocolError):
            self.fail(PROTOCOL, str(error))
        else:
            self.fail(FAILED, describe(error))

    def _keep(self) -> None:
        """The effects of the hooks before one that failed."""
        if self.effects:
            self.reply.effects.MergeFromString(self.effects)
        self.total = 0

    def fail(self, code: int, message: str) -> None:
        """Ends the call with a failure."""
        self.reply.failure.code, self.reply.failure.message = code, cut(message)
        self._wrap_up()

    def stop(self, code: int, message: str) -> None:
        """Ends a call whose hook runs or waits: what that hook has changed is lost."""
        self.x._ended = True
        if not self.done:
            self._keep()
            if self.index < len(self.binding.hooks) and self.begun:
                self.reply.outcomes.add(hook=self.index, duration_us=int((time.monotonic() - self.begun) * 1e6))
            self.fail(code, message)

    def _end(self) -> None:
        if self.total:
            effects_of(self.x, self.total, self.reply.effects)
        self._wrap_up()

    def _wrap_up(self) -> None:
        self.done = True
        x, reply = self.x, self.reply
        for hook, level, message in x._logs:
            reply.logs.add(hook=hook, level=level, message=message)
        for (hook, name), delta in list(x._counters.items()):
            reply.counters.add(hook=hook, name=name.encode("utf-8", "replace").decode(), delta=max(-(1 << 63), min(delta, (1 << 63) - 1)))

    def serialized(self) -> bytes:
        """The reply as it travels; a failure in place of one that is larger than a frame."""
        data: bytes = self.reply.SerializeToString()
        if len(data) > FRAME_BYTES - 64:
            small = pb.Reply(id=self.id)
            small.failure.code, small.failure.message = FAILED, "the reply has %d bytes: at most %d" % (len(data), FRAME_BYTES - 64)
            data = small.SerializeToString()
        return data


def effects_of(x: Exchange, bits: int, e: Any) -> Any:
    """Writes what the hooks of a call have changed."""
    q = x._request
    if q is not None:
        if bits & METHOD:
            e.method = q._method
        if bits & PATH:
            e.path = q._path
        if bits & QUERY:
            e.query = q._query._raw  # type: ignore[union-attr]
        if bits & BODY:
            e.body = q._body
        for kind, name, value in q.headers._ops:
            e.headers.add(kind=kind, name=name, value=value)
    if bits & SESSION:
        if x._session is None:
            e.clear_session = True
        else:
            e.session.CopyFrom(x._session)
    if x._values:
        for name, data in x._values.items():
            e.values.add(name=name, data=data)
    r = x._response
    if r is None:
        return e
    if x._answer:
        answer = e.answer
        answer.status, answer.body = r.status, r.body
        answer.length = len(r.body)
        for _, name, value in r.headers._read():
            answer.headers.add(name=name, value=value)
        return e
    if bits & STATUS:
        e.status = r._status
    if bits & RESPONSE_BODY:
        e.response_body = r._body
    for kind, name, value in r.headers._ops:
        e.response_headers.add(kind=kind, name=name, value=value)
    return e


def describe(error: BaseException) -> str:
    """The failure's message for the gateway's log: what was raised and where, without the values that were involved."""
    where: List[Tuple[str, int]] = []
    trace = error.__traceback__
    while trace is not None:
        where.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    at = " (%s, line %d)" % (where[-1][0].rsplit("/", 1)[-1], where[-1][1]) if where else ""
    return "%s: %s%s" % (type(error).__name__, error, at)
