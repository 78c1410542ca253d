"""Running the calls of hosts' streams, in a worker process or in the server itself: frames in, replies out."""

from __future__ import annotations

import threading
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

from google.protobuf.message import DecodeError

from turnbuckle import framing, wire
from turnbuckle._pb import plugin_pb2 as pb
from turnbuckle.call import CANCELED, MAX_LINES, OVERLOADED, PROTOCOL, TIMEOUT, Binding, Call, bind
from turnbuckle.dispatch import Dispatch, bad_object
from turnbuckle.errors import ProtocolError
from turnbuckle.lead import Leader
from turnbuckle.observers import Observers
from turnbuckle.plugin import Plugin

_REPLIES = 1 << 20  # bytes of replies in one message, if it has more than one


class _Stream:
    def __init__(self, number: int) -> None:
        self.number = number
        self.bindings: Dict[int, Optional[Binding]] = {}
        self.calls: Dict[int, Call] = {}
        self.seq = 0  # of the last frame that was decoded
        self.closing = False  # no more calls come
        self.unsent = 0  # replies of calls that have ended


class Runner:
    """Runs calls of a plugin. Its source is a Leader's, whose Work are this class's methods. Its sink has, for all threads:
    replies(stream, seq, seconds, ids, data, late), where seq is of the last frame that was taken, seconds what quick hooks
    took, and late says that it may wait a moment for others; result(number, status, data) of Dispatch; closed(stream) and
    broken(stream). credit is how many calls a stream may have at once, 0 for any number."""

    def __init__(self, plugin: Plugin, source: Any, sink: Any, threads: int = 64, credit: int = 0) -> None:
        self._plugin, self._sink, self._credit = plugin, sink, credit
        self._streams: Dict[int, _Stream] = {}
        self._dispatches: Dict[int, Dispatch] = {}
        self._lock = threading.Lock()  # of who answers a call, and of streams' calls once they have begun
        self._fresh: List[_Stream] = []  # streams with frames that are not acknowledged
        self._leader = Leader(source, self, self._flush, self._finish, threads)
        self._observers = Observers(plugin, self._leader.loop)

    def start(self) -> None:
        """Begins to run what comes."""
        self._leader.start()

    def wait(self) -> bool:
        """Waits until the source or stop ends it. Hooks that still run are left to the end of the process. False: it has failed,
        and calls may not have been answered."""
        self._leader.over.wait()
        self._observers.close()
        return not self._leader.failed

    def _flush(self) -> None:
        """Sends what the leader has, and acknowledges what it has taken."""
        leader = self._leader
        out, leader.out = leader.out, []
        inline, leader.inline = leader.inline, 0.0
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
        some: List[bytes] = []
        ids: List[int] = []
        size = 0
        for call in calls:
            data = call.serialized()
            call.x._let_go()
            size += len(data)
            if size > _REPLIES and some:
                self._sink.replies(stream.number, stream.seq, inline, ids, wire.replies(some), late)
                some, ids, size = [], [], len(data)
            some.append(data)
            ids.append(call.id)
        self._sink.replies(stream.number, stream.seq, inline, ids, wire.replies(some), late)

    def _finish(self, calls: List[Any], late: bool = False) -> None:
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
        bindings, running, pending = stream.bindings, stream.calls, self._leader.pending
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
                self._leader.out.append(call)

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
        self._leader.out.append(call)

    def dispatch(self, number: int, due: float, data: bytes) -> None:
        """A call of Tyk's protocol; due is 0 without a deadline."""
        try:
            dispatch = Dispatch(self._plugin, number, data, due)
        except DecodeError:
            self._sink.result(number, bad_object, b"the object cannot be decoded")
            return
        self._dispatches[number] = dispatch
        self._leader.pending.append(dispatch)

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
        self._leader.loop.cancel(call)
        self._leader.out.append(call)

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
            self._leader.loop.cancel(call)

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
        self._leader.over.set()


_NO_BINDING = Binding(0, (), (), (), None)  # type: ignore[arg-type]
