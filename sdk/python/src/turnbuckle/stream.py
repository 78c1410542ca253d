"""One Session of the native protocol (PROTOCOL.md 1.3) as the server sees it: frames come, replies and acknowledgements leave."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Deque, Optional

import grpc
from google.protobuf.message import DecodeError

from turnbuckle import wire
from turnbuckle.call import FRAME_BYTES


class Stream:
    """A host's session. Its frames are acknowledged once their calls are taken, with the replies there are then. What
    becomes of a frame is said in what inherits from this. All of it is for the server's loop."""

    def __init__(self, context: Any, credit: int) -> None:
        self._context, self._credit = context, credit
        self._replies: Deque[bytes] = deque()
        self._ack, self._acked = 0, 0
        self._tell_drain = False
        self._more = True  # calls may still come
        self._loop = asyncio.get_running_loop()
        self._fault: "asyncio.Future[None]" = self._loop.create_future()
        self._idle: Optional["asyncio.Future[None]"] = None  # what the writer waits for

    def _take(self, data: bytes) -> None:
        """Takes a frame. Raises DecodeError."""
        raise NotImplementedError

    def _close(self) -> None:
        """No more frames come."""
        raise NotImplementedError

    def _busy(self) -> bool:
        """Whether replies are to come."""
        raise NotImplementedError

    def _end(self) -> None:
        """The stream is gone, with what it has left."""
        raise NotImplementedError

    async def serve(self) -> None:
        """Serves until the host ends the stream and everything is answered."""
        reader, writer = self._loop.create_task(self._read()), self._loop.create_task(self._write())
        waiting = {reader, writer, self._fault}
        try:
            while not writer.done():
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if self._fault.done():
                    await self._context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a frame cannot be decoded")
                if reader.done():
                    reader.result()
                    waiting.discard(reader)
            await writer
        finally:
            reader.cancel()
            writer.cancel()
            self._end()

    def drain(self) -> None:
        """Asks the host to send no more calls here."""
        self._tell_drain = True
        self._wake()

    def _wake(self) -> None:
        """There is something to write, or nothing will be any more."""
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def _read(self) -> None:
        read = self._context.read
        while True:
            data = await read()
            if data is grpc.aio.EOF:
                break
            try:
                self._take(data)
            except DecodeError:
                self._broken()
        self._close()
        self._no_more()

    def _broken(self) -> None:
        if not self._fault.done():
            self._fault.set_result(None)

    def _no_more(self) -> None:
        self._more = False
        self._wake()

    async def _write(self) -> None:
        write = self._context.write
        await write(b"\x10" + wire.number(self._credit))
        while True:
            while self._replies or self._ack > self._acked or self._tell_drain:
                await write(self._frame())
            if not self._more and not self._busy():
                return
            self._idle = self._loop.create_future()
            await self._idle

    def _frame(self) -> bytes:
        """A PluginFrame of what there is to say, up to what a frame may have."""
        parts, size = [], 16
        if self._ack > self._acked:
            parts.append(b"\x08" + wire.number(self._ack))
            self._acked = self._ack
        while self._replies and (size == 16 or size + len(self._replies[0]) <= FRAME_BYTES):
            size += len(self._replies[0])
            parts.append(self._replies.popleft())
        if self._tell_drain:
            parts.append(b"\x20\x01")
            self._tell_drain = False
        return b"".join(parts)
