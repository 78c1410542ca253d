"""The distributing process's side of its workers: it starts them, gives them calls, and replaces those that end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

from turnbuckle import link
from turnbuckle.errors import LoadError
from turnbuckle.probe import WORKER_FD

log = logging.getLogger("turnbuckle")

_LOAD = 60.0  # seconds in which a plugin has to be loaded
_PING = 1.0
_HANG = 8  # pings without an answer after which a worker is replaced: its interpreter is blocked
_HOLD = 2.0  # seconds that calls wait for a worker, when there is none
_CALM = 10.0  # seconds after which the end of a worker is its first


class Worker(asyncio.Protocol):
    """One worker process. All of it is for the pool's loop."""

    def __init__(self, pool: "Pool", number: int) -> None:
        self.number, self._pool = number, pool
        self.ready = False
        self.load = 0  # calls it has
        self.dispatches: Dict[int, "asyncio.Future[bytes]"] = {}
        self._parser = link.Parser()
        self._transport: Optional[asyncio.Transport] = None
        self.process: Optional["subprocess.Popen[bytes]"] = None
        self.status: Optional[int] = None  # with which the process has ended
        self.began = 0.0
        self.unanswered = 0  # pings sent since it was heard
        self.gone = asyncio.get_running_loop().create_future()

    async def start(self, command: Sequence[str]) -> None:
        """Starts the process."""
        ours, theirs = socket.socketpair()
        for s in (ours, theirs):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        loop = asyncio.get_running_loop()
        self.began = time.monotonic()
        try:
            env = dict(os.environ, **{WORKER_FD: str(theirs.fileno())})
            self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        finally:
            theirs.close()
        await loop.create_unix_connection(lambda: self, sock=ours)
        threading.Thread(target=self._wait, args=(loop,), name="turnbuckle-wait", daemon=True).start()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        status = self.process.wait()  # type: ignore[union-attr]
        try:
            loop.call_soon_threadsafe(self._exited, status)
        except RuntimeError:
            pass  # the loop has ended

    def _exited(self, status: int) -> None:
        self.status = status
        # What it sent before is read first; a process it left behind may keep the socket open.
        asyncio.get_running_loop().call_later(0.05, self._close)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self.ready = False
        self.kill()
        for future in self.dispatches.values():
            if not future.done():
                future.set_exception(WorkerLost())
        self.dispatches.clear()
        if not self.gone.done():
            self.gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.unanswered = 0
        for kind, body in self._parser.feed(data):
            if kind == link.REPLIES:
                stream, taken, inline, n = link.REPLIES_HEAD.unpack_from(body)
                at = link.REPLIES_HEAD.size
                self.load -= n
                self._pool.replied(self, stream, taken, inline, link.unpack_ids(body[at : at + 8 * n]), bytes(body[at + 8 * n :]))
            elif kind == link.RESULT:
                number, status = link.RESULT_HEAD.unpack_from(body)
                future = self.dispatches.pop(number, None)
                if future is not None and not future.done():
                    self.load -= 1
                    result = bytes(body[link.RESULT_HEAD.size :])
                    if status:
                        future.set_exception(DispatchFailed(status, result.decode("utf-8", "replace")))
                    else:
                        future.set_result(result)
            elif kind == link.HELLO:
                self.ready = True
                self._pool.loaded(self, bytes(body))
            elif kind == link.BROKEN:
                self._pool.broken(**json.loads(bytes(body)))

    def send(self, kind: int, *parts: bytes) -> None:
        """Sends a message; to one that is gone, nothing."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(link.pack(kind, *parts))

    def backlog(self) -> int:
        """Bytes that it has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def kill(self) -> None:
        """Ends the process at once."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()


class WorkerLost(Exception):
    """A worker ended while it had a call."""


class DispatchFailed(Exception):
    """A call of Tyk's protocol ended with a gRPC status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Pool:
    """A number of workers. They are started anew when they end, at once the first time and then with growing pauses."""

    def __init__(self, command: Sequence[str], size: int) -> None:
        self._command, self.size = list(command), size
        self.workers: List[Worker] = []
        self.description: bytes = b""
        self.cost = 5e-6  # seconds of a call, as far as the workers' leaders run it
        self._streams: Dict[int, Any] = {}
        self._numbers = 0
        self._keepers: List["asyncio.Task[None]"] = []
        self._up: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()
        self.failed: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()  # never: workers are replaced
        self.on_change: Callable[[], None] = lambda: None
        self._stopping = False
        self._turn = 0

    async def start(self) -> None:
        """Starts the workers and waits until all have loaded the plugin. Raises LoadError."""
        loop = asyncio.get_running_loop()
        self._keepers = [loop.create_task(self._keep(n)) for n in range(self.size)]
        self._keepers.append(loop.create_task(self._watch()))
        await self._up

    def loaded(self, worker: Worker, description: bytes) -> None:
        """A worker is ready."""
        self.description = description
        if not self._up.done() and len(self.ready()) == self.size:
            self._up.set_result(None)
        for stream in list(self._streams.values()):
            stream.tell(worker)
        self.on_change()

    def broken(self, message: str, **details: Any) -> None:
        """A worker could not load the plugin."""
        if not self._up.done():
            self._up.set_exception(LoadError(message, **details))
        elif self._up.exception() is None:
            log.error("a worker cannot load the plugin: %s", message)

    def replied(self, worker: Worker, stream: int, taken: int, inline: float, ids: Sequence[int], raw: bytes) -> None:
        """Replies of a worker have come."""
        if ids and inline:
            self.cost += (inline / len(ids) - self.cost) / 16
        found = self._streams.get(stream)
        if found is not None:
            found.replied(taken, ids, raw)

    async def _keep(self, number: int) -> None:
        """Keeps one of the workers running."""
        failures = 0
        while not self._stopping:
            worker = Worker(self, number)
            try:
                await worker.start(self._command)
            except OSError as e:
                self.broken("cannot start %s: %s" % (self._command[0], e))
                failures += 1
                await asyncio.sleep(min(0.1 * 2**failures, 5.0))
                continue
            self.workers.append(worker)
            await worker.gone
            self.workers = [w for w in self.workers if w is not worker]
            self.on_change()
            for stream in list(self._streams.values()):
                stream.lost(worker)
            if self._stopping:
                return
            await self._status(worker)
            if not self._up.done():
                self._up.set_exception(LoadError("worker %d ended with %s before it had loaded the plugin" % (number, _status(worker.status))))
                return
            failures = 0 if time.monotonic() - worker.began > _CALM else failures + 1
            pause = 0.0 if failures <= 1 else min(0.1 * 2 ** (failures - 2), 5.0)
            log.error("worker %d (process %d) ended with %s; another is started%s", number, worker.process.pid if worker.process else 0,
                      _status(worker.status), " in %.1f s" % pause if pause else "")
            await asyncio.sleep(pause)

    async def _status(self, worker: Worker) -> None:
        for _ in range(100):
            if worker.status is not None:
                return
            await asyncio.sleep(0.01)

    async def _watch(self) -> None:
        """Ends workers that do not load, or whose interpreter is blocked."""
        running = 0.0  # seconds that this loop has run, without those in which this process or the machine stood still
        since: Dict[Worker, float] = {}  # when workers that load were first seen, by that
        while True:
            began = time.monotonic()
            await asyncio.sleep(_PING)
            running += min(time.monotonic() - began, 2 * _PING)
            since = {w: since.get(w, running) for w in self.workers if not w.ready}
            for worker in self.workers:
                if worker.unanswered >= _HANG or not worker.ready and running - since[worker] > _LOAD:
                    log.error("worker %d does not answer and is ended", worker.number)
                    worker.kill()
                elif worker.ready:
                    worker.unanswered += 1
                    worker.send(link.PING)

    @property
    def serving(self) -> bool:
        """Whether a worker takes calls."""
        return any(w.ready for w in self.workers)

    def session(self, context: Any, credit: int) -> Any:
        """A host's session, whose calls go to the workers."""
        from turnbuckle.distribute import Distributed

        return Distributed(self, context, credit)

    def add(self, stream: Any) -> int:
        """Takes a stream, which replies are for, and returns its number."""
        self._numbers += 1
        self._streams[self._numbers] = stream
        return self._numbers

    def remove(self, number: int) -> None:
        """Forgets a stream. Its calls are ended."""
        self._streams.pop(number, None)
        for worker in self.ready():
            worker.send(link.END, link.pack_ids([number]))

    def ready(self) -> List[Worker]:
        """The workers that take calls, the one with the least to do first."""
        found = [w for w in self.workers if w.ready]
        if len(found) > 1:
            found.sort(key=lambda w: w.load)
        return found

    def hopeful(self) -> bool:
        """Whether a worker is about to be ready."""
        now = time.monotonic()
        return any(not w.ready and now - w.began < _HOLD for w in self.workers)

    async def dispatch(self, data: bytes, left: Optional[float]) -> bytes:
        """Runs a call of Tyk's protocol. Raises DispatchFailed."""
        waited = 0.0
        while not self.ready():
            if waited >= _HOLD:
                raise DispatchFailed(14, "no worker runs")
            await asyncio.sleep(0.01)
            waited += 0.01
        worker = self.ready()[0]
        self._numbers += 1
        number = self._numbers
        future: "asyncio.Future[bytes]" = asyncio.get_running_loop().create_future()
        worker.dispatches[number] = future
        worker.load += 1
        worker.send(link.DISPATCH, link.DISPATCH_HEAD.pack(number, time.monotonic() + left if left is not None else 0.0), data)
        try:
            return await future
        except WorkerLost:
            raise DispatchFailed(13, "the worker ended while it ran the hook") from None
        except asyncio.CancelledError:
            if worker.dispatches.pop(number, None) is not None:
                worker.load -= 1
                worker.send(link.FORGET, link.pack_ids([number]))
            raise

    def observe(self, kind: int, data: bytes) -> bool:
        """Gives records and events to one of the workers, in turn. False: they are dropped, for it is behind."""
        found = [w for w in self.workers if w.ready]
        self._turn += 1
        if not found or found[self._turn % len(found)].backlog() > 8 << 20:
            return False
        found[self._turn % len(found)].send(kind, data)
        return True

    async def stop(self, patience: float = 2.0) -> None:
        """Has the workers end, and ends those that do not."""
        self._stopping = True
        for worker in self.workers:
            worker.send(link.STOP)
        ends = [worker.gone for worker in self.workers]
        if ends:
            await asyncio.wait(ends, timeout=patience)
        for worker in self.workers:
            worker.kill()
        for task in self._keepers:
            task.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)


def _status(status: Optional[int]) -> str:
    if status is None:
        return "an unknown status"
    if status < 0:
        try:
            return "signal %s" % signal.Signals(-status).name
        except ValueError:
            return "signal %d" % -status
    return "status %d" % status


def own_command() -> List[str]:
    """The command that runs this program again, as a worker."""
    original = getattr(sys, "orig_argv", None)
    if original:
        return [sys.executable, *original[1:]]
    flags: List[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    main = sys.modules["__main__"]
    if main.__spec__ is not None:
        name = main.__spec__.name
        return [sys.executable, *flags, "-m", name[: -len(".__main__")] if name.endswith(".__main__") else name, *sys.argv[1:]]
    return [sys.executable, *flags, *sys.argv]
