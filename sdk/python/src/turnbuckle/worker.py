"""A worker process: it loads the plugin and runs the calls that the distributing process sends it."""

from __future__ import annotations

import socket
import threading
from typing import List, Optional, Sequence

from turnbuckle import link
from turnbuckle.lead import Work
from turnbuckle.plugin import Plugin
from turnbuckle.runner import Runner


class Worker:
    """Runs calls of a plugin for the process at the other end of a socket."""

    def __init__(self, plugin: Plugin, sock: socket.socket, threads: int = 64) -> None:
        self._plugin, self._sock = plugin, sock
        self._sending = threading.Lock()
        self._parser = link.Parser()
        self._runner = Runner(plugin, self, self, threads)

    def run(self) -> bool:
        """Serves until the other end closes or says to stop. Hooks that still run are left to the end of the process. False:
        it has failed."""
        self._tell(link.HELLO, self._plugin.describe().SerializeToString())
        self._runner.start()
        return self._runner.wait()

    def _tell(self, kind: int, *parts: bytes) -> None:
        message = link.pack(kind, *parts)
        with self._sending:
            try:
                self._sock.sendall(message)
            except OSError:
                pass  # the other end is gone: take says so

    # The source of the runner.

    def take(self) -> Optional[List[Work]]:
        """Waits for what arrives; None: nothing will."""
        while True:
            try:
                data = self._sock.recv(1 << 18)
            except OSError:
                return None
            if not data:
                return None
            work = [work for work in map(self._work, self._parser.feed(data)) if work is not None]
            if work:
                return work

    def _work(self, message: "tuple[int, memoryview]") -> Optional[Work]:
        kind, body = message
        if kind == link.CALLS:
            number, seq, arrived = link.CALLS_HEAD.unpack_from(body)
            return Runner.frame, (number, seq, arrived, bytes(body[link.CALLS_HEAD.size :]))
        if kind == link.DISPATCH:
            number, due = link.DISPATCH_HEAD.unpack_from(body)
            return Runner.dispatch, (number, due, bytes(body[link.DISPATCH_HEAD.size :]))
        if kind == link.CANCEL:
            number, *ids = link.unpack_ids(body)
            return Runner.cancel, (number, ids)
        if kind == link.FORGET:
            return Runner.forget, link.unpack_ids(body)
        if kind == link.END:
            return Runner.end, link.unpack_ids(body)
        if kind == link.OBSERVE:
            return Runner.observe, (bytes(body),)
        if kind == link.EVENT:
            return Runner.event, (bytes(body),)
        if kind == link.STOP:
            return Runner.stop, ()
        self._tell(link.PONG)
        return None

    # The sink of the runner.

    def replies(self, stream: int, seq: int, seconds: float, ids: Sequence[int], data: bytes, late: bool) -> None:
        """Replies of calls, and what was taken of a stream."""
        self._tell(link.REPLIES, link.REPLIES_HEAD.pack(stream, seq, seconds, len(ids)), link.pack_ids(ids), data)

    def result(self, number: int, status: int, data: bytes) -> None:
        """How a call of Tyk's protocol has ended."""
        self._tell(link.RESULT, link.RESULT_HEAD.pack(number, status), data)

    def closed(self, stream: int) -> None:
        """The distributing process knows by itself."""

    def broken(self, stream: int) -> None:
        """The distributing process has read the frame before."""
