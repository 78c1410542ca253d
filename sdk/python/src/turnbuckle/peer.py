"""The client's certificate (RFC 5280 §4.1), as far as hooks want to know. It has been verified by the gateway; what is read
here is only shown."""

from __future__ import annotations

import calendar
import hashlib
import time
from dataclasses import dataclass, field
from typing import Iterator, List, Tuple

_NAMES = {
    "2.5.4.3": "CN", "2.5.4.5": "SERIALNUMBER", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "STREET",
    "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.17": "POSTALCODE",
}
_ALT_NAME = bytes.fromhex("551d11")
_ESCAPED = ',+"\\<>;'


@dataclass
class Peer:
    """The certificate that the client presented."""

    chain: List[bytes]
    """The certificates as DER, the client's own first."""
    sha256: str = ""
    """Of the client's own, in hex."""
    subject: str = ""
    issuer: str = ""
    serial: str = ""
    """In decimal."""
    dns_names: List[str] = field(default_factory=list)
    not_before: int = 0
    not_after: int = 0
    """Unix seconds."""


def parse(chain: List[bytes]) -> Peer:
    """What the first certificate of a chain says. Of one that cannot be read only the chain and its hash are known."""
    peer = Peer(chain, hashlib.sha256(chain[0]).hexdigest())
    try:
        _read(peer, chain[0])
    except (ValueError, IndexError):
        pass  # the gateway took it: what it has that we do not know is no reason to fail a hook
    return peer


def _read(peer: Peer, der: bytes) -> None:
    _, certificate = next(_elements(der))
    _, body = next(_elements(certificate))
    parts = list(_elements(body))
    if parts[0][0] == 0xA0:  # the version, absent in version 1
        del parts[0]
    peer.serial = str(int.from_bytes(parts[0][1], "big", signed=True))
    peer.issuer, peer.subject = _name(parts[2][1]), _name(parts[4][1])
    peer.not_before, peer.not_after = (_time(tag, value) for tag, value in _elements(parts[3][1]))
    for tag, value in parts[6:]:
        if tag == 0xA3:  # extensions
            _, extensions = next(_elements(value))
            for _, extension in _elements(extensions):
                fields = list(_elements(extension))
                if fields[0][1] == _ALT_NAME:
                    _, names = next(_elements(fields[-1][1]))
                    peer.dns_names = [v.decode("ascii", "replace") for t, v in _elements(names) if t == 0x82]


def _elements(data: bytes) -> Iterator[Tuple[int, bytes]]:
    """The elements that stand in data one after another (X.690 §8.1), each a tag and its contents."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        if at + length > len(data):
            raise ValueError("an element ends after its message")
        yield tag, data[at : at + length]
        at += length


def _name(data: bytes) -> str:
    """A distinguished name as RFC 2253 writes it."""
    groups = []
    for _, group in _elements(data):
        pairs = []
        for _, pair in _elements(group):
            (_, oid), (_, value) = list(_elements(pair))[:2]
            dotted = _oid(oid)
            pairs.append(_NAMES.get(dotted, dotted) + "=" + _escape(value.decode("utf-8", "replace")))
        groups.append("+".join(pairs))
    return ",".join(reversed(groups))


def _escape(value: str) -> str:
    out = "".join("\\" + c if c in _ESCAPED else c for c in value)
    if out[:1] in (" ", "#"):
        out = "\\" + out
    return out[:-1] + "\\ " if len(value) > 1 and value[-1] == " " else out


def _oid(data: bytes) -> str:
    numbers, value = [], 0
    for byte in data:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(str(n) for n in [first, numbers[0] - 40 * first] + numbers[1:])


def _time(tag: int, value: bytes) -> int:
    digits = value.decode("ascii").rstrip("Z")
    if tag == 0x17:  # two digits of the year (RFC 5280 §4.1.2.5.1)
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    return calendar.timegm(time.strptime(digits, "%Y%m%d%H%M%S"))
