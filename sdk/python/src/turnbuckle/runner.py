"""Running the calls of hosts' streams, in a worker process or in the server itself.

One thread, the leader, takes work from a source and runs quick hooks one after another, as they come: that is what makes
batches cheap. A watchdog sees when a hook holds the leader up, and lets another thread lead; hooks found to take long run
in threads from then on, and async hooks on a loop of their own. So no hook stops another, whatever it waits for."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple

from google.protobuf.message import DecodeError

from turnbuckle import framing, wire
from turnbuckle._pb import plugin_pb2 as pb
from turnbuckle.asyncs import Loop
from turnbuckle.call import CANCELED, MAX_LINES, OVERLOADED, PROTOCOL, TIMEOUT, Binding, Call, bind
from turnbuckle.dispatch import Dispatch, bad_object
from turnbuckle.errors import ProtocolError
from turnbuckle.observers import Observers
from turnbuckle.plugin import Hook, Plugin
from turnbuckle.threads import SLOW, Threads, is_waiting, watch_closely, watch_hook

log = logging.getLogger("turnbuckle")

_WATCH = 0.010  # seconds a hook may hold the leader up
_AGAIN = 0.001  # seconds after which a thread that only wanted the interpreter's lock has it
_FLUSH = 0.001  # seconds after which replies do not wait for the rest of their batch
_REPLIES = 1 << 20  # bytes of replies in one message

Work = Tuple[Callable[..., None], Tuple[Any, ...]]
"""A method of Runner, with what it is called with besides."""


class _Stream:
    def __init__(self, number: int) -> None:
        self.number = number
        self.bindings: Dict[int, Optional[Binding]] = {}
        self.calls: Dict[int, Call] = {}
        self.seq = 0  # of the last frame that was decoded
        self.closing = False  # no more calls come
        self.unsent = 0  # replies of calls that have ended


class Runner:
    """Runs calls of a plugin. Its source has take(), which waits and returns a list of Work, or None at the end, and is
    asked by one thread at a time. Its sink has, for all threads: replies(stream, seq, seconds, ids, data, late), where seq is
    of the last frame that was taken, seconds what quick hooks took, and late says that it may wait a moment for others; result(number, status, data) of Dispatch; closed(stream)
    and broken(stream). credit is how many calls a stream may have at once, 0 for any number."""

    def __init__(self, plugin: Plugin, source: Any, sink: Any, threads: int = 64, credit: int = 0) -> None:
        self._plugin, self._source, self._sink, self._credit = plugin, source, sink, credit
        self._streams: Dict[int, _Stream] = {}
        self._dispatches: Dict[int, Dispatch] = {}
        self._lock = threading.Lock()  # of who leads, of _out, and of streams' calls once they have begun
        self._work: Deque[Work] = deque()
        self._pending: Deque[Any] = deque()  # calls that have not begun
        self._out: List[Any] = []  # calls that have ended, whose replies the leader sends
        self._fresh: List[_Stream] = []  # streams with frames that are not acknowledged
        self._inline = 0.0  # seconds that hooks took since the last message
        self._leader = 0  # the thread that leads
        self._claim: List[Tuple[Any, Hook]] = []  # what the leader runs; who takes it away says what comes next
        self._due = 0.0  # when the leader sends what it has, in the middle of a batch
        self._resting, self._wake = False, threading.Event()
        self._over = threading.Event()
        self._threads = Threads(threads, self._run_here)
        self._loop = Loop(self._advance, self._finish_all)
        self._observers = Observers(plugin, self._loop)

    def start(self) -> None:
        """Begins to lead."""
        self._lead_anew()
        threading.Thread(target=self._watchdog, name="turnbuckle-watchdog", daemon=True).start()

    def wait(self) -> None:
        """Waits until the source or stop ends it. Hooks that still run are left to the end of the process."""
        self._over.wait()
        self._observers.close()

    # Leading.

    def _lead_anew(self) -> None:
        thread = threading.Thread(target=self._lead, name="turnbuckle-lead", daemon=True)
        with self._lock:
            self._leader = -1  # nobody, until it runs
        thread.start()

    def _lead(self) -> None:
        me = threading.get_ident()
        with self._lock:
            self._leader = me
        try:
            self._flush()  # what the one before had ready
            while self._drain(me):
                work = self._source.take()
                if work is None:
                    break
                if self._resting:
                    self._resting = False
                    self._wake.set()
                self._work.extend(work)
            else:
                return  # another leads
        except Exception:
            log.exception("the leading thread failed")
        self._over.set()

    def _drain(self, me: int) -> bool:
        """Does what is to be done. False: this thread does not lead any more."""
        pending, work = self._pending, self._work
        self._due = time.monotonic() + _FLUSH
        while True:
            while pending:
                if not self._lead_call(pending.popleft()):
                    return False
            if not work:
                break
            what, arguments = work.popleft()
            what(self, *arguments)
        self._flush()
        return True

    def _lead_call(self, call: Any) -> bool:
        """Runs the hooks of a call on the leading thread, for as long as they may. False: it does not lead any more."""
        hook = call.next()
        while hook is not None:
            if hook.is_async:
                self._loop.submit(call, hook)
                return True
            if hook.threaded:
                self._threads.submit(call, hook)
                return True
            self._claim = claim = [(call, hook)]
            took = watch_hook(call, hook) if hook.suspect else call.run(hook)
            try:
                claim.pop()
            except IndexError:  # it took so long that another thread leads
                if call.waits is not None:
                    self._loop.submit(call, hook)
                else:
                    self._advance(call)
                return False
            self._inline += took
            if took > SLOW and not hook.suspect:
                watch_closely(hook)  # the machine may have been busy with others
            if call.done:
                break
            if call.waits is not None:
                self._loop.submit(call, hook)
                return True
            hook = call.next()
            call.begun = 0.0  # what comes is not the watchdog's yet
        self._out.append(call)
        if call.begun > self._due:
            self._flush()
            self._due = time.monotonic() + _FLUSH
        return True

    def _flush(self) -> None:
        """Sends what the leader has, and acknowledges what it has taken."""
        out, self._out = self._out, []
        inline, self._inline = self._inline, 0.0
        fresh, self._fresh = self._fresh, []
        if out:
            with self._lock:
                out = self._claimed(out)
        self._send(out, fresh, inline)

    def _claimed(self, calls: List[Any]) -> List[Any]:
        """Those of the calls that are not answered yet; they are from now on. self._lock is held."""
        fresh = []
        for call in calls:
            if call.answered:
                continue
            call.answered = True
            fresh.append(call)
            if call.stream is None:
                self._dispatches.pop(call.number, None)
                continue
            stream = call.stream
            stream.unsent += 1
            if stream.calls.get(call.id) is call:
                del stream.calls[call.id]
        return fresh

    def _send(self, calls: List[Any], fresh: Sequence[_Stream] = (), inline: float = 0.0, late: bool = False) -> None:
        by_stream: Dict[_Stream, List[Call]] = {stream: [] for stream in fresh}
        for call in calls:
            if call.stream is None:
                self._sink.result(call.number, call.status, call.result)
            else:
                by_stream.setdefault(call.stream, []).append(call)
        for stream, ended in by_stream.items():
            self._send_replies(stream, ended, inline, late)
            with self._lock:
                stream.unsent -= len(ended)
                over = stream.closing and not stream.calls and not stream.unsent
            if over:
                self._sink.closed(stream.number)

    def _send_replies(self, stream: _Stream, calls: List[Call], inline: float, late: bool) -> None:
        at = 0
        while True:
            some: List[bytes] = []
            ids: List[int] = []
            size = 0
            while at < len(calls) and size < _REPLIES:
                call = calls[at]
                at += 1
                data = call.serialized()
                call.x._let_go()
                some.append(data)
                ids.append(call.id)
                size += len(data)
            self._sink.replies(stream.number, stream.seq, inline, ids, wire.replies(some), late)
            if at == len(calls):
                return

    def _watchdog(self) -> None:
        idle = 0
        while not self._over.wait(_WATCH):
            claim = self._claim
            running = claim[:]
            if not running:
                idle += 1
                if idle > 100:
                    self._rest()
                    idle = 0
                continue
            idle = 0
            (call, hook), = running
            begun = call.begun
            if not begun or time.monotonic() - begun < _WATCH:
                continue
            stuck = self._leader
            waited = is_waiting(stuck)
            if waited:  # perhaps for the interpreter's lock, which this thread has
                time.sleep(_AGAIN)
            try:
                claim.pop()
            except IndexError:
                continue  # it has ended
            if waited and is_waiting(stuck):
                hook.threaded, hook.calm = True, 0
            else:
                watch_closely(hook)
            self._lead_anew()

    def _rest(self) -> None:
        """Waits, when there is nothing to watch, until there is."""
        self._wake.clear()
        self._resting = True
        if not self._claim:
            while not self._over.is_set() and not self._wake.wait(1.0):
                pass
        self._resting = False

    # Running elsewhere.

    def _advance(self, call: Any) -> None:
        """Runs the hooks of a call for as long as they can run on this thread: the loop's, or one that has led."""
        while True:
            hook = call.next()
            if hook is None:
                self._finish_all([call])
                return
            if hook.is_async:
                self._loop.submit(call, hook)
                return
            if hook.threaded:
                self._threads.submit(call, hook)
                return
            call.run(hook)
            if call.waits is not None:
                self._loop.submit(call, hook)
                return

    def _run_here(self, call: Any, hook: Hook) -> None:
        """Runs a hook, and the plain ones after it, in a thread of the pool."""
        following: Optional[Hook] = hook
        took = 0.0
        while following is not None:
            if call.done:
                break
            if following.is_async:
                self._loop.submit(call, following)
                return
            took = call.run(following)
            if call.waits is not None:
                self._loop.submit(call, following)
                return
            if following.threaded:
                _settle(following, took)
            following = call.next()
        self._finish_all([call], took > SLOW)

    def _finish_all(self, calls: List[Any], late: bool = False) -> None:
        """Has the replies of calls that have ended sent. For any thread."""
        with self._lock:
            fresh = self._claimed(calls)
        if fresh:
            self._send(fresh, late=late)

    # What arrives. These are what Work does: the leading thread calls them.

    def frame(self, number: int, seq: int, arrived: float, data: bytes) -> None:
        """A frame of a host, whole, or what of it is for this worker; then seq is the frame's, else 0."""
        stream = self._streams.get(number)
        if stream is None:
            stream = self._streams[number] = _Stream(number)
        try:
            message = framing.decode(pb.HostFrame, data)
            bindings, calls = message.bindings, message.calls
        except DecodeError:
            try:
                message, bindings, calls = self._one_by_one(data, stream)
            except DecodeError:
                self._sink.broken(number)
                return
        stream.seq = max(seq or message.seq, stream.seq)
        self._fresh.append(stream)
        for binding in bindings:
            self._bind(stream, binding)
        if calls:
            self._begin(stream, calls, arrived, len(data))
        if not seq:
            self._rest_of(stream, message)

    def _bind(self, stream: _Stream, message: Any) -> None:
        if message.id not in stream.bindings and len(stream.bindings) >= framing.MOST_BINDINGS:
            return  # its calls are refused
        try:
            stream.bindings[message.id] = bind(self._plugin, message)
        except ProtocolError:
            stream.bindings[message.id] = None  # its calls are refused

    def _begin(self, stream: _Stream, calls: Sequence[Any], arrived: float, size: int) -> None:
        small = size < MAX_LINES  # what has too many of anything has at least a byte for each
        bindings, running, pending = stream.bindings, stream.calls, self._pending
        for message in calls:
            binding = bindings.get(message.binding)
            if binding is None:
                self._refuse(stream, message.id, PROTOCOL, "binding %d is not known" % message.binding)
                continue
            if self._credit and len(running) >= self._credit:
                self._refuse(stream, message.id, OVERLOADED, "more than %d calls at once" % self._credit)
                continue
            call = Call(stream, binding, message, arrived)
            running[call.id] = call
            if small or call.check():
                pending.append(call)
            else:
                self._out.append(call)

    def _rest_of(self, stream: _Stream, message: Any) -> None:
        """What of a whole frame is neither bindings nor calls."""
        if message.cancels:
            self.cancel(stream.number, message.cancels)
        if message.records or message.events:
            self._observers.offer(message)
        if message.drain:
            self.close(stream.number)

    def _one_by_one(self, data: bytes, stream: _Stream) -> Tuple[Any, List[Any], List[Any]]:
        """A frame of which a part cannot be understood, without this. Raises DecodeError when it is the frame."""
        raw = framing.raw(data)
        message = pb.HostFrame(seq=raw.seq, cancels=raw.cancels, drain=raw.drain, dropped=raw.dropped, observers=raw.observers)
        bindings, calls = [], []
        for part in raw.bindings:
            try:
                bindings.append(pb.Binding.FromString(part))
            except DecodeError:
                continue  # its calls are refused
        for part in raw.calls:
            try:
                calls.append(pb.Call.FromString(part))
            except DecodeError:
                self._refuse(stream, framing.id_of(part), PROTOCOL, "the call cannot be decoded")
        self._observers.offer_parts(raw)
        return message, bindings, calls

    def _refuse(self, stream: _Stream, id: int, code: int, message: str) -> None:
        call = Call(stream, _NO_BINDING, pb.Call(id=id), 0.0)
        call.fail(code, message)
        self._out.append(call)

    def dispatch(self, number: int, due: float, data: bytes) -> None:
        """A call of Tyk's protocol; due is 0 without a deadline."""
        try:
            dispatch = Dispatch(self._plugin, number, data, due)
        except DecodeError:
            self._sink.result(number, bad_object, b"the object cannot be decoded")
            return
        self._dispatches[number] = dispatch
        self._pending.append(dispatch)

    def forget(self, number: int) -> None:
        """Nobody waits for a call of Tyk's protocol any more."""
        dispatch = self._dispatches.get(number)
        if dispatch is not None:
            self._stop(dispatch, CANCELED)

    def cancel(self, number: int, ids: Sequence[int]) -> None:
        """Nobody waits for these calls of a stream any more."""
        stream = self._streams.get(number)
        for id in ids:
            call = stream.calls.get(id) if stream else None
            if call is not None:
                passed = call.x._due is not None and time.monotonic() >= call.x._due
                self._stop(call, TIMEOUT if passed else CANCELED)

    def _stop(self, call: Any, code: int) -> None:
        call.stop(code, "the deadline passed" if code == TIMEOUT else "the call was canceled")
        self._loop.cancel(call)
        self._out.append(call)

    def close(self, number: int) -> None:
        """No more calls of a stream will come: the sink is told when all are answered."""
        stream = self._streams.get(number)
        if stream is None:
            self._sink.closed(number)
            return
        stream.closing = True
        self._fresh.append(stream)

    def end(self, number: int) -> None:
        """A stream is gone."""
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        with self._lock:
            calls = list(stream.calls.values())
            for call in calls:
                call.answered = True
            stream.calls.clear()
        for call in calls:
            call.stop(CANCELED, "the stream ended")
            self._loop.cancel(call)

    def observe(self, data: bytes) -> None:
        """Records and events of a host's frame."""
        try:
            self._observers.offer(framing.decode(pb.HostFrame, data))
        except DecodeError:
            self._observers.offer_parts(framing.raw(data))

    def event(self, data: bytes) -> None:
        """An event of Tyk's protocol."""
        self._observers.offer_event(data)

    def stop(self) -> None:
        """Ends it, once what has ended is sent. From another thread it is Work."""
        self._flush()
        self._over.set()


_NO_BINDING = Binding(0, (), (), (), None)  # type: ignore[arg-type]


def _settle(hook: Hook, took: float) -> None:
    """Brings a hook back from the threads when it has been quick for long, and for longer each time."""
    if took > SLOW:
        hook.calm = 0
        return
    hook.calm += 1
    if hook.calm >= hook.patience:
        hook.threaded, hook.calm = False, 0
        hook.patience = min(hook.patience * 2, 6_400)
