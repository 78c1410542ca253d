"""The replies of calls as they travel (PROTOCOL.md 1.6), in protobuf's encoding. They are put together here, because a message that
is built field by field costs several times what most hooks do."""

from __future__ import annotations

from functools import lru_cache
from typing import Iterable, List, Optional, Tuple


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


_SMALL = tuple(_varint(n) for n in range(4096))


def number(n: int) -> bytes:
    """A number that is not negative, below 1 << 64."""
    return _SMALL[n] if n < 4096 else _varint(n)


def signed(n: int) -> bytes:
    """A number of type sint64."""
    return number(n << 1 if n >= 0 else (-n << 1) - 1)


def field(tag: bytes, data: bytes) -> bytes:
    """A field with a length: bytes, text or a message."""
    n = len(data)
    return tag + (_SMALL[n] if n < 4096 else _varint(n)) + data


def utf8(text: str) -> bytes:
    """Text as a field of type string may have it: what UTF-8 does not have becomes a question mark."""
    return text.encode("utf-8", "replace")


def header_field(name: str, value: bytes) -> bytes:
    """The content of a Field."""
    return field(b"\x0a", utf8(name)) + field(b"\x12", value)


@lru_cache(1024)
def _op(kind: int, name: str) -> bytes:
    return b"\x08" + _SMALL[kind] + field(b"\x12", utf8(name)) + b"\x1a"


def header_op(tag: bytes, kind: int, name: str, value: bytes) -> bytes:
    """A field that is a HeaderOp."""
    op = _op(kind, name)
    n = len(value)
    op += (_SMALL[n] if n < 4096 else _varint(n)) + value
    n = len(op)
    return tag + (_SMALL[n] if n < 4096 else _varint(n)) + op


def value(name: str, data: Optional[bytes]) -> bytes:
    """The content of a Value, which None takes away."""
    named = field(b"\x0a", utf8(name))
    return named if data is None else named + field(b"\x12", data)


def response(status: int, headers: Iterable[Tuple[str, bytes]], body: bytes) -> bytes:
    """The content of a Response."""
    parts = [b"\x08", number(status)]
    parts += [field(b"\x12", header_field(name, data)) for name, data in headers]
    parts += [field(b"\x1a", body), b"\x20", signed(len(body))]
    return b"".join(parts)


def error(status: int, message: str, headers: Iterable[Tuple[str, bytes]]) -> bytes:
    """The content of an Error."""
    parts = [b"\x08", number(status), field(b"\x12", utf8(message))]
    parts += [field(b"\x1a", header_field(name, data)) for name, data in headers]
    return b"".join(parts)


def failure(code: int, message: str) -> bytes:
    """The content of a Failure."""
    return b"\x08" + number(code) + field(b"\x12", utf8(message))


def outcome(hook: int, took: float, changed: int) -> bytes:
    """The HookOutcome of a Reply; took is in seconds."""
    us = int(took * 1e6)
    done = b"\x10" + (_SMALL[us] if us < 4096 else _varint(us)) + b"\x18" + _SMALL[changed]
    if hook:
        done = b"\x08" + number(hook) + done
    return b"\x2a" + _SMALL[len(done)] + done


def log_line(hook: int, level: int, message: str) -> bytes:
    """The content of a LogLine."""
    return b"\x08" + number(hook) + b"\x10" + signed(level) + field(b"\x1a", utf8(message))


def counter(hook: int, name: str, delta: int) -> bytes:
    """The content of a Counter."""
    return b"\x08" + number(hook) + field(b"\x12", utf8(name)) + b"\x18" + signed(delta)


def failed(id: int, code: int, message: str) -> bytes:
    """A Reply that is a failure and nothing else."""
    return b"\x08" + number(id) + field(b"\x22", failure(code, message))


def replies(some: Iterable[bytes]) -> bytes:
    """Replies as the fields of a PluginFrame."""
    parts: List[bytes] = []
    for data in some:
        n = len(data)
        parts += (b"\x1a", _SMALL[n] if n < 4096 else _varint(n), data)
    return b"".join(parts)
