"""A session whose calls go to worker processes, each to the one with the least to do."""

from __future__ import annotations

import logging
import time
from typing import Any, Dict, List, Sequence, Tuple

from turnbuckle import framing, link, wire
from turnbuckle.call import FAILED, OVERLOADED, UNAVAILABLE
from turnbuckle.pool import Pool, Worker
from turnbuckle.stream import Stream

log = logging.getLogger("turnbuckle")

_HOLD = 0.001  # seconds that an acknowledgement waits for the replies of its frame
_PART = 100e-6  # seconds of work that are worth another worker's while


class Distributed(Stream):
    """A host's session with a pool of workers."""

    def __init__(self, pool: Pool, context: Any, credit: int) -> None:
        super().__init__(context, credit)
        self._pool = pool
        self._number = pool.add(self)
        self._bindings: Dict[int, bytes] = {}
        self._calls: Dict[int, Any] = {}  # by id: the worker, or None while there is none
        self._waiting: List[Tuple[int, bytes]] = []  # calls that there was no worker for
        self._seq = 0

    def _close(self) -> None:
        pass

    def _busy(self) -> bool:
        return bool(self._calls)

    def _end(self) -> None:
        self._pool.remove(self._number)

    def _take(self, data: bytes) -> None:
        arrived = time.monotonic()
        frame = framing.raw(data)
        self._seq = max(self._seq, frame.seq)
        bindings, calls = framing.ids(data)
        if bindings:
            self._bind(bindings, frame.bindings)
        if calls:
            self._distribute(calls, frame.calls, arrived)
            self._loop.call_later(_HOLD, self._acknowledge, frame.seq)
        else:
            self._acknowledge(frame.seq)
        if frame.cancels:
            self._cancel(frame.cancels)
        if frame.records or frame.events:
            self._observe(frame)
        if frame.drain:
            self._no_more()

    def _bind(self, ids: List[int], bindings: Sequence[bytes]) -> None:
        for id, data in zip(ids, bindings):
            if id in self._bindings or len(self._bindings) < framing.MOST_BINDINGS:
                self._bindings[id] = data
        raw = framing.frame(bindings=bindings)
        for worker in self._pool.ready():
            worker.send(link.CALLS, self._head(0, 0.0), raw)

    def tell(self, worker: Worker) -> None:
        """A worker has come: it is told of the bindings, and gets what waits."""
        if self._bindings:
            raw = framing.frame(bindings=list(self._bindings.values()))
            worker.send(link.CALLS, self._head(0, 0.0), raw)
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            left = [(id, data) for id, data in waiting if id in self._calls]
            self._send(worker, [id for id, _ in left], [data for _, data in left], time.monotonic())

    def _head(self, seq: int, arrived: float) -> bytes:
        return link.CALLS_HEAD.pack(self._number, seq, arrived)

    def _distribute(self, ids: List[int], calls: Sequence[bytes], arrived: float) -> None:
        room = self._credit - len(self._calls)
        if len(ids) > room:
            for id in ids[room:]:
                self._fail(id, OVERLOADED, "more than %d calls at once" % self._credit)
            ids, calls = ids[:room], calls[:room]
        workers = self._pool.ready()
        if not workers:
            self._hold(ids, calls)
            return
        share = max(1, int(_PART / self._pool.cost))
        parts = min(len(workers), -(-len(ids) // share)) or 1
        size = -(-len(ids) // parts)
        for n in range(parts):
            at = slice(n * size, (n + 1) * size)
            if ids[at]:
                self._send(workers[n], ids[at], calls[at], arrived)

    def _send(self, worker: Worker, ids: List[int], calls: Sequence[bytes], arrived: float) -> None:
        self._calls.update(dict.fromkeys(ids, worker))
        worker.load += len(ids)
        worker.send(link.CALLS, self._head(self._seq, arrived), framing.frame(calls=calls))

    def _hold(self, ids: List[int], calls: Sequence[bytes]) -> None:
        """There is no worker now: calls wait for one that is about to come."""
        if not self._pool.hopeful():
            for id in ids:
                self._fail(id, UNAVAILABLE, "no worker runs")
            return
        self._calls.update(dict.fromkeys(ids))
        self._waiting.extend(zip(ids, calls))
        self._loop.call_later(2.0, self._give_up, ids)

    def _give_up(self, ids: List[int]) -> None:
        held = {id for id, _ in self._waiting}.intersection(ids)
        self._waiting = [(id, data) for id, data in self._waiting if id not in held]
        for id in held:
            if self._calls.pop(id, self) is None:
                self._fail(id, UNAVAILABLE, "no worker runs")

    def lost(self, worker: Worker) -> None:
        """A worker has ended: what it had may have run and is not repeated."""
        for id in [id for id, w in self._calls.items() if w is worker]:
            del self._calls[id]
            self._fail(id, FAILED, "the worker ended while it had the call")

    def _cancel(self, cancels: Sequence[int]) -> None:
        by_worker: Dict[Any, List[int]] = {}
        for id in cancels:
            if id in self._calls:
                by_worker.setdefault(self._calls[id], []).append(id)
        for worker, ids in by_worker.items():
            if worker is not None:
                worker.send(link.CANCEL, link.pack_ids([self._number, *ids]))
            else:
                self._give_up(ids)

    def _observe(self, frame: Any) -> None:
        some = framing.frame(records=frame.records, events=frame.events, dropped=frame.dropped, observers=frame.observers)
        if not self._pool.observe(link.OBSERVE, some):
            log.warning("%d records and events dropped: the observers are behind", len(frame.records) + len(frame.events))

    def _fail(self, id: int, code: int, message: str) -> None:
        self._replies.append(wire.replies([wire.failed(id, code, message)]))
        self._wake()

    def _acknowledge(self, seq: int) -> None:
        if seq > self._ack:
            self._ack = seq
            self._wake()

    def replied(self, taken: int, ids: Sequence[int], raw: bytes) -> None:
        """A worker has begun all calls of the frames it was sent, up to one, and answers some."""
        pop = self._calls.pop
        for id in ids:
            pop(id, None)
        if raw:
            self._replies.append(raw)
        if taken > self._ack:
            self._ack = taken
        self._wake()
