"""Header lines of a message."""

from __future__ import annotations

from typing import Any, Iterable, Iterator, List, NamedTuple, Optional, Tuple, TypeVar, Union, overload

from turnbuckle._pb import plugin_pb2 as pb
from turnbuckle.errors import ProtocolError
from turnbuckle.syntax import Data, line, text

T = TypeVar("T")
_DATA = (str, bytes, bytearray, memoryview)
_SET, _ADD, _DEL = pb.HEADER_OP_KIND_SET, pb.HEADER_OP_KIND_ADD, pb.HEADER_OP_KIND_DEL


class Line(NamedTuple):
    """A header line."""

    name: str
    value: bytes


class Headers:
    """The header lines of a message, in order and spelled as they came; names compare without regard to case. Bytes that
    are no UTF-8 are read as surrogates and written as they were. Not for several threads at once."""

    __slots__ = ("_fields", "_lines", "_ops")

    def __init__(self, fields: Any = ()) -> None:
        self._fields = fields  # messages with name and value, read when something asks
        self._lines: Optional[List[Tuple[str, str, bytes]]] = None  # folded name, name, value
        self._ops: List[Tuple[int, str, bytes]] = []  # changes that the hook which runs has made

    def _read(self) -> List[Tuple[str, str, bytes]]:
        lines = self._lines
        if lines is None:
            lines = self._lines = [(f.name.lower(), f.name, f.value) for f in self._fields]
            for kind, name, value in self._ops:
                _apply(lines, kind, name, value)
        return lines

    def lines(self) -> Iterable[Any]:
        """The lines as they stand, each with a name and a value in bytes."""
        if not self._ops:
            return self._fields  # type: ignore[no-any-return]
        return [Line(name, value) for _, name, value in self._read()]

    def _note(self, kind: int, name: str, value: bytes) -> None:
        self._ops.append((kind, name, value))
        if self._lines is not None:
            _apply(self._lines, kind, name, value)

    @overload
    def get(self, name: str) -> Optional[str]: ...

    @overload
    def get(self, name: str, default: T) -> Union[str, T]: ...

    def get(self, name: str, default: Any = None) -> Any:
        """The first value of name, or default."""
        folded = name.lower()
        for known, _, value in self._read():
            if known == folded:
                return text(value)
        return default

    def get_all(self, name: str) -> List[str]:
        """All values of name, empty when there is none."""
        folded = name.lower()
        return [text(value) for known, _, value in self._read() if known == folded]

    def has(self, name: str) -> bool:
        """Whether there is a line of that name."""
        folded = name.lower()
        return any(known == folded for known, _, _ in self._read())

    def set(self, name: str, value: Union[Data, Iterable[Data]]) -> None:
        """Replaces all values of name by one, or by those of a list. The first line keeps its place."""
        if not isinstance(value, _DATA):
            values = list(value)
            if not values:
                return self.delete(name)
            self.set(name, values[0])
            for more in values[1:]:
                self.add(name, more)
            return None
        checked = line(name, value)
        if checked is None:
            raise _no_line(name, value)
        self._ops.append((_SET, *checked))
        if self._lines is not None:
            _apply(self._lines, _SET, *checked)
        return None

    def add(self, name: str, value: Data) -> None:
        """Appends a line."""
        self._note(_ADD, *_line(name, value))

    def delete(self, name: str) -> None:
        """Removes all lines of that name."""
        self._note(_DEL, *_line(name, b""))

    def entries(self) -> List[Tuple[str, str]]:
        """The lines as names and values, in order, spelled as they came."""
        return [(name, text(value)) for _, name, value in self._read()]

    items = entries

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __setitem__(self, name: str, value: Union[Data, Iterable[Data]]) -> None:
        self.set(name, value)

    def __delitem__(self, name: str) -> None:
        self.delete(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.has(name)

    def __iter__(self) -> Iterator[str]:
        return iter([name for _, name, _ in self._read()])

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return "Headers(%r)" % self.entries()


def _line(name: str, value: Data) -> Tuple[str, bytes]:
    checked = line(name, value)
    if checked is None:
        raise _no_line(name, value)
    return checked


def _no_line(name: str, value: Data) -> ProtocolError:
    return ProtocolError("no header line: %.80r: %.80r" % (name, value))


def _apply(lines: List[Tuple[str, str, bytes]], kind: int, name: str, value: bytes) -> None:
    folded = name.lower()
    if kind == _ADD:
        lines.append((folded, name, value))
        return
    at = next((i for i, known in enumerate(lines) if known[0] == folded), len(lines))
    rest = [known for known in lines[at:] if known[0] != folded]
    lines[at:] = ([(folded, name, value)] if kind == _SET else []) + rest
