"""One Session of the native protocol (PROTOCOL.md 1.3): frames of calls go to the workers, their replies come back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Any, Deque, Dict, List, Sequence, Tuple

import grpc
from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError

from turnbuckle import link
from turnbuckle._pb import plugin_pb2 as pb
from turnbuckle._pb import turnbuckle_frames_pb2 as frames
from turnbuckle.call import FAILED, FRAME_BYTES, OVERLOADED, UNAVAILABLE
from turnbuckle.pool import Pool, Worker

log = logging.getLogger("turnbuckle")

_PART = 100e-6  # seconds of work that are worth another worker's while
_HOLD = 0.001  # seconds that an acknowledgement waits for the replies of its frame
_MOST_BINDINGS = 65_536
_STRICT = api_implementation.Type() == "upb"  # before protobuf 4.21 a message may end in the middle, with a zero


class Stream:
    """A host's session. Its frames are acknowledged when a worker has begun their calls, with the replies there are then."""

    def __init__(self, pool: Pool, context: Any, credit: int) -> None:
        self._pool, self._context, self._credit = pool, context, credit
        self._number = pool.add(self)
        self._bindings: Dict[int, bytes] = {}
        self._calls: Dict[int, Any] = {}  # by id: the worker, or None while there is none
        self._waiting: List[Tuple[int, bytes]] = []  # calls that there was no worker for
        self._replies: Deque[bytes] = deque()
        self._seq, self._ack, self._acked = 0, 0, 0
        self._tell_drain = False
        self._more = True  # calls may still come
        self._ready = asyncio.Event()

    async def serve(self) -> None:
        """Serves until the host ends the stream and everything is answered."""
        loop = asyncio.get_running_loop()
        reader, writer = loop.create_task(self._read()), loop.create_task(self._write())
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if not writer.done():
                reader.result()
            await writer
        finally:
            reader.cancel()
            writer.cancel()
            self._pool.remove(self._number)

    def drain(self) -> None:
        """Asks the host to send no more calls here."""
        self._tell_drain = True
        self._ready.set()

    async def _read(self) -> None:
        while True:
            data = await self._context.read()
            if data is grpc.aio.EOF:
                break
            try:
                self._take(data)
            except DecodeError:
                await self._context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a frame cannot be decoded")
        self._more = False
        self._ready.set()

    def _take(self, data: bytes) -> None:
        arrived = time.monotonic()
        frame = frames.RawFrame.FromString(data)
        if not _STRICT:
            walk(data)
        self._seq = max(self._seq, frame.seq)
        ids = frames.Ids.FromString(data)
        if frame.bindings:
            self._bind([b.id for b in ids.bindings], frame.bindings)
        if frame.calls:
            self._distribute([c.id for c in ids.calls], frame.calls, arrived)
            asyncio.get_running_loop().call_later(_HOLD, self._acknowledge, frame.seq)
        else:
            self._acknowledge(frame.seq)
        if frame.cancels:
            self._cancel(frame.cancels)
        if frame.records or frame.events:
            self._observe(frame)
        if frame.drain:
            self._more = False
            self._ready.set()

    def _bind(self, ids: List[int], bindings: Sequence[bytes]) -> None:
        for id, data in zip(ids, bindings):
            if id in self._bindings or len(self._bindings) < _MOST_BINDINGS:
                self._bindings[id] = data
        raw = frames.RawFrame(bindings=bindings).SerializeToString()
        for worker in self._pool.ready():
            worker.send(link.CALLS, self._head(0, 0.0), raw)

    def tell(self, worker: Worker) -> None:
        """A worker has come: it is told of the bindings, and gets what waits."""
        if self._bindings:
            raw = frames.RawFrame(bindings=list(self._bindings.values())).SerializeToString()
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
        worker.send(link.CALLS, self._head(self._seq, arrived), frames.RawFrame(calls=calls).SerializeToString())

    def _hold(self, ids: List[int], calls: Sequence[bytes]) -> None:
        """There is no worker now: calls wait for one that is about to come."""
        if not self._pool.hopeful():
            for id in ids:
                self._fail(id, UNAVAILABLE, "no worker runs")
            return
        self._calls.update(dict.fromkeys(ids))
        self._waiting.extend(zip(ids, calls))
        asyncio.get_running_loop().call_later(2.0, self._give_up, ids)

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
        some = frames.RawFrame(records=frame.records, events=frame.events, dropped=frame.dropped, observers=frame.observers)
        if not self._pool.observe(link.OBSERVE, some.SerializeToString()):
            log.warning("%d records and events dropped: the observers are behind", len(frame.records) + len(frame.events))

    def _fail(self, id: int, code: int, message: str) -> None:
        reply = pb.Reply(id=id)
        reply.failure.code, reply.failure.message = code, message
        self._replies.append(frames.RawReplies(replies=[reply.SerializeToString()]).SerializeToString())
        self._ready.set()

    def _acknowledge(self, seq: int) -> None:
        if seq > self._ack:
            self._ack = seq
            self._ready.set()

    def replied(self, taken: int, ids: Sequence[int], raw: bytes) -> None:
        """A worker has begun all calls of the frames it was sent, up to one, and answers some."""
        pop = self._calls.pop
        for id in ids:
            pop(id, None)
        if raw:
            self._replies.append(raw)
        if taken > self._ack:
            self._ack = taken
        self._ready.set()

    async def _write(self) -> None:
        write = self._context.write
        await write(pb.PluginFrame(credit=self._credit).SerializeToString())
        while self._more or self._calls or self._replies or self._ack > self._acked:
            await self._ready.wait()
            self._ready.clear()
            while self._replies or self._ack > self._acked or self._tell_drain:
                await write(self._frame())

    def _frame(self) -> bytes:
        ack = self._ack if self._ack > self._acked else 0
        self._acked = self._ack
        head = pb.PluginFrame(ack=ack, drain=self._tell_drain).SerializeToString()
        self._tell_drain = False
        parts, size = [head], len(head)
        while self._replies and (len(parts) == 1 or size + len(self._replies[0]) <= FRAME_BYTES):
            size += len(self._replies[0])
            parts.append(self._replies.popleft())
        return b"".join(parts)


def walk(data: bytes) -> None:
    """Goes from field to field of a message. Raises DecodeError where that cannot be done."""
    at, size = 0, len(data)

    def varint(at: int) -> Tuple[int, int]:
        value = shift = 0
        while at < size and shift < 64:
            byte = data[at]
            value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
            if byte < 0x80:
                return value, at
        raise DecodeError("a number has no end")

    while at < size:
        key, at = varint(at)
        length = {1: 8, 5: 4}.get(key & 7, 0)
        if key & 7 == 0:
            _, at = varint(at)
        elif key & 7 == 2:
            length, at = varint(at)
        elif not length and key & 7 not in (3, 4):
            raise DecodeError("a field of no known kind")
        at += length
        if key < 8 or at > size:
            raise DecodeError("a field has no number or no end")
