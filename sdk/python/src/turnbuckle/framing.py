"""Frames of a session (PROTOCOL.md 1.3) that are not decoded, or cannot be."""

from __future__ import annotations

from typing import Any, List, Tuple

from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError

from turnbuckle._pb import turnbuckle_frames_pb2 as pb

MOST_BINDINGS = 65_536
_STRICT = api_implementation.Type() == "upb"
_LAST = (1 << 64) - 1
_END = b"\x20" + b"\xff" * 9 + b"\x01"  # a field of cancels, with _LAST
_OTHER, _OTHER_END = 1, b"\x20\x01"


def decode(kind: Any, data: bytes) -> Any:
    """A frame as a message of a kind, HostFrame or RawFrame. Raises DecodeError. Decoders in C++ take a message that ends in
    the middle, with a zero, for a whole one: so something is put at its end, and looked for."""
    if _STRICT:
        return kind.FromString(data)
    message = kind.FromString(data + _END)
    if not message.cancels or message.cancels.pop() != _LAST:
        raise DecodeError("a frame has something else than fields")
    # What is at the end may be part of a list of cancels that claims to be as long: two lengths it cannot have.
    if message.cancels and (kind.FromString(data + _OTHER_END).cancels or [0])[-1] != _OTHER:
        raise DecodeError("a frame has something else than fields")
    return message


def raw(data: bytes) -> Any:
    """A frame with its parts as they came. Raises DecodeError."""
    return decode(pb.RawFrame, data)


def ids(data: bytes) -> Tuple[List[int], List[int]]:
    """The ids of a frame's bindings and calls."""
    found = pb.Ids.FromString(data)
    return [b.id for b in found.bindings], [c.id for c in found.calls]


def id_of(part: bytes) -> int:
    """The id of a call that cannot be decoded, 0 where even that is not there."""
    try:
        return int(pb.Ids.Part.FromString(part).id)
    except DecodeError:
        return 0


def frame(**parts: Any) -> bytes:
    """A frame of parts as they came."""
    data: bytes = pb.RawFrame(**parts).SerializeToString()
    return data
