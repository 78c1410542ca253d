"""A worker process: it loads the plugin and runs the calls that the distributing process sends it.

One thread, the leader, reads messages and runs quick hooks one after another, as they come: that is what makes batches cheap.
A watchdog sees when a hook holds the leader up, and lets another thread lead; hooks found to take long run in threads
from then on, and async hooks on a loop of their own. So no hook stops another, whatever it waits for."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Tuple

from google.protobuf.message import DecodeError

from turnbuckle import link
from turnbuckle._pb import plugin_pb2 as pb
from turnbuckle._pb import turnbuckle_frames_pb2 as frames
from turnbuckle.asyncs import Loop
from turnbuckle.call import CANCELED, MAX_LINES, PROTOCOL, TIMEOUT, Binding, Call, bind
from turnbuckle.dispatch import Dispatch, bad_object
from turnbuckle.errors import ProtocolError
from turnbuckle.observers import Observers
from turnbuckle.plugin import Hook, Plugin
from turnbuckle.threads import SLOW, Threads, is_waiting, watch_closely, watch_hook

log = logging.getLogger("turnbuckle")

_WATCH = 0.005  # seconds a hook may hold the leader up
_AGAIN = 0.001  # seconds after which a thread that only wanted the interpreter's lock has it
_FLUSH = 0.0005  # seconds after which replies do not wait for the rest of their batch
_REPLIES = 1 << 20  # bytes of replies in one message


class _Stream:
    def __init__(self) -> None:
        self.bindings: Dict[int, Optional[Binding]] = {}
        self.calls: Dict[int, Call] = {}


class Worker:
    """Runs calls of a plugin for the process at the other end of a socket."""

    def __init__(self, plugin: Plugin, sock: socket.socket, threads: int = 64) -> None:
        self._plugin, self._sock = plugin, sock
        self._streams: Dict[int, _Stream] = {}
        self._dispatches: Dict[int, Dispatch] = {}
        self._lock = threading.Lock()  # of who leads, of _out, of _streams and their calls
        self._sending = threading.Lock()
        self._parser = link.Parser()
        self._messages: Deque[Tuple[int, memoryview]] = deque()
        self._pending: Deque[Any] = deque()  # calls that have not begun
        self._out: List[Any] = []  # calls that have ended, whose replies the leader sends
        self._taken: Dict[int, int] = {}  # by stream, the seq of the frame whose calls have all begun
        self._inline = 0.0  # seconds that hooks took since the last message
        self._leader = 0  # the thread that leads
        self._hook: Optional[Tuple[Hook, float]] = None  # what the leader runs, and since when
        self._resting, self._wake = False, threading.Event()
        self._over = threading.Event()
        self._threads = Threads(threads, self._run_here)
        self._loop = Loop(self._advance, self._finish_all)
        self._observers = Observers(plugin, self._loop)

    def run(self) -> None:
        """Serves until the other end closes or says to stop. Hooks that still run are left to the end of the process."""
        self._tell(link.HELLO, self._plugin.describe().SerializeToString())
        self._lead_anew()
        threading.Thread(target=self._watchdog, name="turnbuckle-watchdog", daemon=True).start()
        self._over.wait()
        self._observers.close()

    def _tell(self, kind: int, *parts: bytes) -> None:
        message = link.pack(kind, *parts)
        with self._sending:
            try:
                self._sock.sendall(message)
            except OSError:
                self._over.set()

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
            while self._drain(me):
                data = self._sock.recv(1 << 18)
                if not data:
                    break
                if self._resting:
                    self._resting = False
                    self._wake.set()
                self._messages.extend(self._parser.feed(data))
            else:
                return  # another leads
        except OSError:
            pass  # the other end is gone
        except Exception:
            log.exception("the worker's leader failed")
        self._over.set()

    def _drain(self, me: int) -> bool:
        """Takes what has arrived and runs it. False: this thread does not lead any more."""
        last = time.monotonic()
        while True:
            while self._pending:
                self._advance(self._pending.popleft(), True)
                if self._leader != me:
                    return False
                now = time.monotonic()
                if now - last > _FLUSH and self._out:
                    self._flush()
                    last = now
            if not self._messages:
                break
            self._take(*self._messages.popleft())
        self._flush()
        with self._lock:
            return self._leader == me

    def _flush(self) -> None:
        with self._lock:
            out, self._out = self._out, []
            taken: Dict[int, int] = {}
            if not self._pending:
                taken, self._taken = self._taken, {}
            inline, self._inline = self._inline, 0.0
        if out or taken:
            self._send_replies(out, taken, inline)

    def _send_replies(self, calls: List[Any], taken: Dict[int, int], inline: float = 0.0) -> None:
        by_stream: Dict[int, List[Call]] = {stream: [] for stream in taken}
        for call in calls:
            if isinstance(call, Dispatch):
                self._tell(link.RESULT, link.RESULT_HEAD.pack(call.number, call.status), call.result)
            else:
                by_stream.setdefault(call.stream, []).append(call)
        for stream, ended in by_stream.items():
            self._send_stream(stream, taken.get(stream, 0), inline, ended)

    def _send_stream(self, stream: int, taken: int, inline: float, calls: List[Call]) -> None:
        while True:
            some, size = [], 0
            while calls and size < _REPLIES:
                data = calls[-1].serialized()
                some.append((calls.pop().id, data))
                size += len(data)
            raw = frames.RawReplies(replies=[data for _, data in some]).SerializeToString()
            head = link.REPLIES_HEAD.pack(stream, taken, inline, len(some))
            self._tell(link.REPLIES, head, link.pack_ids([id for id, _ in some]), raw)
            if not calls:
                return

    def _watchdog(self) -> None:
        idle = 0
        while not self._over.wait(_WATCH):
            running = self._hook
            if running is None:
                idle += 1
                if idle > 200:
                    self._rest()
                    idle = 0
                continue
            idle = 0
            hook, since = running
            if time.monotonic() - since < _WATCH:
                continue
            waited = is_waiting(self._leader)
            if waited:  # perhaps for the interpreter's lock, which this thread has
                time.sleep(_AGAIN)
            with self._lock:
                if self._hook is not running:
                    continue
                stuck, self._hook = self._leader, None
                self._leader = -1
            if waited and is_waiting(stuck):
                hook.threaded, hook.calm = True, 0
            else:
                watch_closely(hook)
            self._lead_anew()

    def _rest(self) -> None:
        """Waits, when there is nothing to watch, until there is."""
        self._wake.clear()
        self._resting = True
        if self._hook is None:
            while not self._over.is_set() and not self._wake.wait(1.0):
                pass
        self._resting = False

    # Running.

    def _advance(self, call: Any, leads: bool = False) -> None:
        """Runs the hooks of a call for as long as they can run on this thread: the leader's, or the loop's."""
        while True:
            hook = call.next()
            if hook is None:
                self._finish(call)
                return
            if hook.is_async:
                self._loop.submit(call, hook)
                return
            if hook.threaded:
                self._threads.submit(call, hook)
                return
            if not leads:
                call.run(hook)
            elif not self._run_leading(call, hook):
                leads = False
            if call.waits is not None:
                self._loop.submit(call, hook)
                return

    def _run_leading(self, call: Any, hook: Hook) -> bool:
        """Runs a hook on the leader. False: another thread leads meanwhile."""
        running = (hook, time.monotonic())
        self._hook = running
        took = watch_hook(call, hook) if hook.suspect else call.run(hook)
        with self._lock:
            mine = self._hook is running
            if mine:
                self._hook = None
                self._inline += took
        if took > SLOW and mine and not hook.suspect:
            watch_closely(hook)  # the machine may have been busy with others
        return mine

    def _run_here(self, call: Any, hook: Hook) -> None:
        """Runs a hook, and the plain ones after it, in a thread of the pool."""
        following: Optional[Hook] = hook
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
        self._finish(call)

    def _finish(self, call: Any) -> None:
        self._finish_all([call])

    def _finish_all(self, calls: List[Any]) -> None:
        """Has the replies of calls that have ended sent: with the leader's others, or at once."""
        with self._lock:
            fresh = []
            for call in calls:
                if call.answered:
                    continue
                call.answered = True
                fresh.append(call)
                if isinstance(call, Dispatch):
                    self._dispatches.pop(call.number, None)
                else:
                    stream = self._streams.get(call.stream)
                    if stream is not None and stream.calls.get(call.id) is call:
                        del stream.calls[call.id]
            if self._leader == threading.get_ident():
                self._out.extend(fresh)
                return
        if fresh:
            self._send_replies(fresh, {})

    # What arrives.

    def _take(self, kind: int, body: memoryview) -> None:
        if kind == link.CALLS:
            self._take_calls(body)
        elif kind == link.DISPATCH:
            self._take_dispatch(body)
        elif kind == link.CANCEL:
            stream, *ids = link.unpack_ids(body)
            self._cancel(stream, ids)
        elif kind == link.FORGET:
            dispatch = self._dispatches.get(link.unpack_ids(body)[0])
            if dispatch is not None:
                self._stop(dispatch, CANCELED)
        elif kind == link.END:
            self._end(link.unpack_ids(body)[0])
        elif kind == link.OBSERVE:
            self._observers.offer(bytes(body))
        elif kind == link.EVENT:
            self._observers.offer_event(bytes(body))
        elif kind == link.PING:
            self._tell(link.PONG)
        elif kind == link.STOP:
            self._flush()
            self._over.set()

    def _take_calls(self, body: memoryview) -> None:
        number, seq, arrived = link.CALLS_HEAD.unpack_from(body)
        raw = bytes(body[link.CALLS_HEAD.size :])
        stream = self._streams.get(number)
        if stream is None:
            stream = self._streams[number] = _Stream()
        try:
            frame = pb.HostFrame.FromString(raw)
            bindings, calls = frame.bindings, frame.calls
        except DecodeError:
            bindings, calls = self._one_by_one(raw, number)
        for message in bindings:
            try:
                stream.bindings[message.id] = bind(self._plugin, message)
            except ProtocolError:
                stream.bindings[message.id] = None  # its calls are refused
        small = len(raw) < MAX_LINES  # what has too many of anything has at least a byte for each
        for message in calls:
            binding = stream.bindings.get(message.binding)
            if binding is None:
                self._refuse(number, message.id, "binding %d is not known" % message.binding)
                continue
            call = Call(number, binding, message, arrived)
            stream.calls[call.id] = call
            if small or call.check():
                self._pending.append(call)
            else:
                self._finish(call)
        self._taken[number] = max(seq, self._taken.get(number, 0))

    def _one_by_one(self, raw: bytes, stream: int) -> Tuple[List[Any], List[Any]]:
        """The bindings and calls of a frame of which one cannot be understood."""
        frame = frames.RawFrame.FromString(raw)
        bindings, calls = [], []
        for data in frame.bindings:
            try:
                bindings.append(pb.Binding.FromString(data))
            except DecodeError:
                continue  # its calls are refused
        for data in frame.calls:
            try:
                calls.append(pb.Call.FromString(data))
            except DecodeError:
                self._refuse(stream, frames.Ids.Part.FromString(data).id, "the call cannot be decoded")
        return bindings, calls

    def _refuse(self, stream: int, id: int, message: str) -> None:
        call = Call(stream, _NO_BINDING, pb.Call(id=id), 0.0)
        call.fail(PROTOCOL, message)
        self._finish(call)

    def _take_dispatch(self, body: memoryview) -> None:
        number, due = link.DISPATCH_HEAD.unpack_from(body)
        try:
            dispatch = Dispatch(self._plugin, number, bytes(body[link.DISPATCH_HEAD.size :]), due)
        except DecodeError:
            self._tell(link.RESULT, link.RESULT_HEAD.pack(number, bad_object), b"the object cannot be decoded")
            return
        self._dispatches[number] = dispatch
        self._pending.append(dispatch)

    def _cancel(self, number: int, ids: List[int]) -> None:
        stream = self._streams.get(number)
        for id in ids:
            call = stream.calls.get(id) if stream else None
            if call is not None:
                passed = call.x._due is not None and time.monotonic() >= call.x._due
                self._stop(call, TIMEOUT if passed else CANCELED)

    def _stop(self, call: Any, code: int) -> None:
        call.stop(code, "the deadline passed" if code == TIMEOUT else "the call was canceled")
        self._loop.cancel(call)
        self._finish(call)

    def _end(self, number: int) -> None:
        with self._lock:
            stream = self._streams.pop(number, None)
            calls = list(stream.calls.values()) if stream else []
            for call in calls:
                call.answered = True
            self._taken.pop(number, None)
        for call in calls:
            call.stop(CANCELED, "the stream ended")
            self._loop.cancel(call)


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


def end_process(status: int) -> None:
    """Ends the process, hooks that still run included."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(status)
