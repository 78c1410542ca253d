"""Running a plugin in the server itself, when one process is to do: calls change threads, and no process.

The server's loop only carries frames; hooks run on the runner's threads, so that one that waits stops neither the loop nor
the others."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple

from turnbuckle import link
from turnbuckle.lead import Work
from turnbuckle.plugin import Plugin
from turnbuckle.pool import DispatchFailed
from turnbuckle.runner import Runner
from turnbuckle.stream import Stream

_LATE = 0.0005  # seconds that replies to calls which took long wait for others
_SWITCH = 0.001  # seconds after which a hook that computes lets the server's loop have the interpreter


class Local:
    """Runs a plugin's calls on threads of this process. Its methods are for the server's loop, those of source and sink for
    the runner's threads."""

    def __init__(self, plugin: Plugin, threads: int, credit: int = 1024) -> None:
        self.description: bytes = plugin.describe().SerializeToString()
        self.on_change: Callable[[], None] = lambda: None
        self.serving = False
        self._runner = Runner(plugin, self, self, threads, credit)
        self._loop = asyncio.get_running_loop()
        self.failed: "asyncio.Future[None]" = self._loop.create_future()  # done when nothing runs hooks any more
        self._running: Optional["asyncio.Future[None]"] = None
        self._streams: Dict[int, "Direct"] = {}
        self._results: Dict[int, "asyncio.Future[Tuple[int, bytes]]"] = {}  # of calls of Tyk's protocol
        self._numbers = 0
        self._work: Deque[Work] = deque()
        self._some = threading.Lock()  # held while there is no work
        self._some.acquire()
        self._told: Deque[Tuple[Callable[..., None], Tuple[Any, ...]]] = deque()
        self._telling, self._waiting = False, False

    async def start(self) -> None:
        """Begins to run what comes."""
        sys.setswitchinterval(min(_SWITCH, sys.getswitchinterval()))
        self._runner.start()
        self.serving = True
        self._running = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        """Waits for the runner, on a thread."""
        whole = await self._loop.run_in_executor(None, self._runner.wait)
        self.serving = False
        if not whole:
            self.failed.set_result(None)

    async def stop(self) -> None:
        """Ends it. Hooks that still run are left to the end of the process."""
        self.serving = False
        self.give(Runner.stop)
        if self._running is not None:
            await self._running

    def session(self, context: Any, credit: int) -> "Direct":
        """A host's session."""
        return Direct(self, context, credit)

    def add(self, stream: "Direct") -> int:
        """Takes a stream, which replies are for, and returns its number."""
        self._numbers += 1
        self._streams[self._numbers] = stream
        return self._numbers

    def remove(self, number: int) -> None:
        """Forgets a stream. Its calls are ended."""
        del self._streams[number]
        self.give(Runner.end, number)

    async def dispatch(self, data: bytes, left: Optional[float]) -> bytes:
        """Runs a call of Tyk's protocol. Raises DispatchFailed."""
        self._numbers += 1
        number = self._numbers
        future: "asyncio.Future[Tuple[int, bytes]]" = self._loop.create_future()
        self._results[number] = future
        self.give(Runner.dispatch, number, time.monotonic() + left if left is not None else 0.0, data)
        try:
            status, result = await future
        except asyncio.CancelledError:
            self.give(Runner.forget, number)
            raise
        finally:
            del self._results[number]
        if status:
            raise DispatchFailed(status, result.decode("utf-8", "replace"))
        return result

    def observe(self, kind: int, data: bytes) -> bool:
        """Gives records and events to the observers."""
        self.give(Runner.event if kind == link.EVENT else Runner.observe, data)
        return True

    def give(self, what: Callable[..., None], *arguments: Any) -> None:
        """Has the runner do something."""
        self._work.append((what, arguments))
        if self._some.locked():
            self._some.release()

    # The source of the runner: one thread takes at a time.

    def take(self) -> Optional[List[Work]]:
        """Waits for work."""
        work = self._work
        while not work:
            self._some.acquire()
        found = []
        while work:
            found.append(work.popleft())
        return found

    # The sink of the runner.

    def replies(self, stream: int, seq: int, seconds: float, ids: Sequence[int], data: bytes, late: bool) -> None:
        """Replies of calls, and what was taken of a stream."""
        self._tell(Direct.replied, stream, seq, data, late=late)

    def closed(self, stream: int) -> None:
        """All calls of a stream that has ended are answered."""
        self._tell(Direct.closed, stream)

    def broken(self, stream: int) -> None:
        """A frame of a stream cannot be decoded."""
        self._tell(Direct.broken, stream)

    def result(self, number: int, status: int, data: bytes) -> None:
        """How a call of Tyk's protocol has ended."""
        self._post(self._ended, number, status, data)

    def _tell(self, what: Callable[..., None], number: int, *arguments: Any, late: bool = False) -> None:
        stream = self._streams.get(number)
        if stream is not None:
            self._post(what, stream, *arguments, late=late)

    def _post(self, what: Callable[..., None], *arguments: Any, late: bool = False) -> None:
        self._told.append((what, arguments))
        if self._telling or late and self._waiting:
            return
        try:
            if late:
                self._waiting = True
                self._loop.call_soon_threadsafe(self._loop.call_later, _LATE, self._listen)
            else:
                self._telling = True
                self._loop.call_soon_threadsafe(self._listen)
        except RuntimeError:
            pass  # the loop has ended

    def _listen(self) -> None:
        self._telling = self._waiting = False  # before the queue is emptied: what comes later tells anew
        told = self._told
        while told:
            what, arguments = told.popleft()
            what(*arguments)

    def _ended(self, number: int, status: int, data: bytes) -> None:
        future = self._results.get(number)
        if future is not None and not future.done():
            future.set_result((status, data))


class Direct(Stream):
    """A host's session with the runner of this process, which gets its frames as they came."""

    def __init__(self, local: Local, context: Any, credit: int) -> None:
        super().__init__(context, credit)
        self._local = local
        self._number = local.add(self)
        self._open = True  # there may be calls that are not answered

    def _take(self, data: bytes) -> None:
        self._local.give(Runner.frame, self._number, 0, time.monotonic(), data)

    def _close(self) -> None:
        self._local.give(Runner.close, self._number)

    def _busy(self) -> bool:
        return self._open

    def _end(self) -> None:
        self._local.remove(self._number)

    def replied(self, seq: int, data: bytes) -> None:
        """Calls of frames up to seq are taken, and some answered."""
        if data:
            self._replies.append(data)
        if seq > self._ack:
            self._ack = seq
        self._wake()

    def closed(self) -> None:
        """Everything is answered, and no more will come."""
        self._open = False
        self._no_more()

    def broken(self) -> None:
        """The host is told that it sent what is no frame."""
        self._broken()
