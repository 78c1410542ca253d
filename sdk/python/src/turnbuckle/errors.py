"""What hooks and the loading of plugins end with."""

from __future__ import annotations

from typing import Any, Iterable, List, Mapping, Tuple, Union

from turnbuckle.syntax import Data, line

HeaderLines = Union[None, Mapping[str, Union[Data, Iterable[Data]]], Iterable[Tuple[str, Data]]]


class Error(Exception):
    """The base of what this package raises."""


class ProtocolError(Error):
    """A hook did what no HTTP message can carry: a line break in a header's value, a status outside 200 to 599. The call
    fails, and its policy decides what happens to the request."""


class NotAskedFor(Error):
    """A hook read a part of the exchange that its needs do not name, and that was not sent."""


class LoadError(Error):
    """A plugin could not be loaded. The message names what was loaded, what is wrong and the interpreter; kind and details
    are what SHIM.md says of errors that programs read."""

    def __init__(self, message: str, kind: str = "load", **details: Any) -> None:
        super().__init__(message)
        self.kind, self.details = kind, details


class StoreError(Error):
    """The gateway's store could not do what it was asked to, or there is none. See STORE.md."""


class Refusal(Error):
    """Ends the exchange on purpose: the gateway renders an error reply with this status, 400 to 599, and this message, the
    only text of a plugin that clients read. Raised by Exchange.refuse, and by hooks themselves."""

    def __init__(self, status: int, message: str = "", headers: HeaderLines = None) -> None:
        message = str(message)  # of an error, too
        super().__init__("%s %s" % (status, message))
        if isinstance(status, bool) or not isinstance(status, int) or not 400 <= status <= 599:
            raise ProtocolError("a refusal with status %r: want 400 to 599" % (status,))
        self.status, self.message = int(status), message
        self.headers: List[Tuple[str, bytes]] = lines(headers)


def lines(headers: HeaderLines) -> List[Tuple[str, bytes]]:
    """Header lines of a mapping of names to a value or several, or of pairs. Raises ProtocolError."""
    if headers is None:
        return []
    if not isinstance(headers, Mapping):
        return [_checked(name, value) for name, value in headers]
    found = []
    for name, value in headers.items():
        for one in (value,) if isinstance(value, (str, bytes, bytearray, memoryview)) else value:
            found.append(_checked(name, one))
    return found


def _checked(name: str, value: Data) -> Tuple[str, bytes]:
    checked = line(name, value)
    if checked is None:
        raise ProtocolError("no header line: %.80r: %.80r" % (name, value))
    return checked
