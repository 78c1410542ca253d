"""Text, bytes, and what HTTP takes (RFC 9110 §5, RFC 3986 §3)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Optional, Tuple, Union

Data = Union[str, bytes, bytearray, memoryview]
"""What becomes bytes: text becomes its UTF-8, and each surrogate of U+DC80 to U+DCFF the byte it stands for."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BAD_PATH = re.compile(rb"[\x00-\x20\x7f?#]|%(?![0-9A-Fa-f]{2})")
_BAD_QUERY = re.compile(rb"[\x00-\x20\x7f#]")


def octets(data: Data) -> bytes:
    """The bytes of data."""
    if isinstance(data, str):
        return data.encode("utf-8", "surrogateescape")
    return bytes(memoryview(data))  # bytes of a number would be as many zeros


def text(data: bytes) -> str:
    """The text of bytes; what is no UTF-8 becomes surrogates, which octets turns back."""
    return data.decode("utf-8", "surrogateescape")


@lru_cache(1024)
def is_token(name: str) -> bool:
    """Whether name is a field name or a method (RFC 9110 §5.6.2)."""
    return _TOKEN.match(name) is not None


def line(name: str, value: Data) -> Optional[Tuple[str, bytes]]:
    """A header line with its value as bytes; None when HTTP cannot carry it (RFC 9110 §5.1, §5.5)."""
    if not is_token(name):
        return None
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogateescape")
        if value.isprintable():
            return name, data  # as almost all are
    else:
        data = bytes(memoryview(value))
    return None if _BAD_VALUE.search(data) is not None else (name, data)


def is_path(path: bytes) -> bool:
    """Whether path is absolute and can stand in a request target."""
    return path[:1] == b"/" and _BAD_PATH.search(path) is None


def is_query(query: bytes) -> bool:
    """Whether query can stand behind the ? of a request target."""
    return _BAD_QUERY.search(query) is None
