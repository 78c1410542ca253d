"""What the distributing process and its workers say to each other, over a pair of sockets: messages of a length, a kind and
a body. Both ends are of one installation, so this is no protocol for others and may change with any version."""

from __future__ import annotations

import struct
from typing import Iterator, List, Sequence, Tuple, Union

_HEAD = struct.Struct("<IB")
CALLS_HEAD = struct.Struct("<QQd")  # stream, seq, when the frame arrived (time.monotonic, which all processes share)
REPLIES_HEAD = struct.Struct("<QQdI")  # stream, seq that was taken, seconds that hooks took inline, how many ids follow
DISPATCH_HEAD = struct.Struct("<Qd")  # number, deadline or 0
RESULT_HEAD = struct.Struct("<QI")  # number, gRPC status

# To a worker.
CALLS, CANCEL, END, OBSERVE, DISPATCH, FORGET, EVENT, PING, STOP = range(1, 10)
# From a worker.
HELLO, BROKEN, REPLIES, RESULT, PONG = range(32, 37)

MAX_MESSAGE = 1 << 30


def pack(kind: int, *parts: bytes) -> bytes:
    """A message of a kind whose body is the parts."""
    body = b"".join(parts)
    return _HEAD.pack(len(body), kind) + body


def pack_ids(ids: Sequence[int]) -> bytes:
    """Numbers, 8 bytes each."""
    return struct.pack("<%dQ" % len(ids), *ids)


def unpack_ids(data: Union[bytes, memoryview]) -> Tuple[int, ...]:
    """What pack_ids packed."""
    return struct.unpack("<%dQ" % (len(data) // 8), data)


class Parser:
    """Cuts what arrives into messages."""

    def __init__(self) -> None:
        self._kept: List[bytes] = []
        self._size = 0
        self._want = _HEAD.size

    def feed(self, data: bytes) -> Iterator[Tuple[int, memoryview]]:
        """The messages that are whole now, each a kind and a body that aliases what was fed."""
        self._size += len(data)
        if self._size < self._want:
            self._kept.append(data)
            return
        if self._kept:
            self._kept.append(data)
            data = b"".join(self._kept)
            self._kept = []
        at, size, view = 0, len(data), memoryview(data)
        while True:
            left = size - at
            self._want = _HEAD.size
            if left >= _HEAD.size:
                length, kind = _HEAD.unpack_from(data, at)
                if length > MAX_MESSAGE:
                    raise ValueError("a message of %d bytes between server and worker" % length)
                self._want = _HEAD.size + length
                if left >= self._want:
                    begin = at + _HEAD.size
                    at = begin + length
                    yield kind, view[begin:at]
                    continue
            break
        self._size = size - at
        if self._size:
            self._kept.append(data[at:] if at else data)
