"""The query of a request target."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator, List, Optional, Tuple, TypeVar, Union, overload
from urllib.parse import quote_plus, unquote_to_bytes

from turnbuckle.errors import ProtocolError
from turnbuckle.syntax import Data, is_query, octets, text

T = TypeVar("T")


class Query:
    """Pairs of names and values, in order, unescaped; names compare with regard to case. Pairs that nobody changes keep
    their bytes, whatever escapes they use. Not for several threads at once."""

    __slots__ = ("_raw", "_pairs", "_touch")

    def __init__(self, raw: bytes = b"", touch: Callable[[bytes], None] = lambda raw: None) -> None:
        self._raw, self._touch = raw, touch  # touch is told of every change
        self._pairs: Optional[List[Tuple[str, str, bytes]]] = None  # name, value, as it stands

    @property
    def raw(self) -> str:
        """What stands behind the ?, byte for byte. It may be assigned."""
        return text(self._raw)

    @raw.setter
    def raw(self, raw: Data) -> None:
        data = octets(raw)
        if not is_query(data):
            raise ProtocolError("no query: %.80r" % (raw,))
        self._raw, self._pairs = data, None
        self._touch(data)

    def _read(self) -> List[Tuple[str, str, bytes]]:
        pairs = self._pairs
        if pairs is None:
            pairs = self._pairs = []
            for part in self._raw.split(b"&"):
                if part:
                    name, _, value = part.partition(b"=")
                    pairs.append((_unescape(name), _unescape(value), part))
        return pairs

    def _keep(self, pairs: List[Tuple[str, str, bytes]]) -> None:
        self._pairs, self._raw = pairs, b"&".join(part for _, _, part in pairs)
        self._touch(self._raw)

    @overload
    def get(self, name: str) -> Optional[str]: ...

    @overload
    def get(self, name: str, default: T) -> Union[str, T]: ...

    def get(self, name: str, default: Any = None) -> Any:
        """The first value of name, or default."""
        return next((value for known, value, _ in self._read() if known == name), default)

    def get_all(self, name: str) -> List[str]:
        """All values of name, empty when there is none."""
        return [value for known, value, _ in self._read() if known == name]

    def has(self, name: str) -> bool:
        """Whether there is a pair of that name."""
        return any(known == name for known, _, _ in self._read())

    def set(self, name: str, value: Union[Data, Iterable[Data]]) -> None:
        """Replaces all values of name by one, or by those of a list. The first pair keeps its place."""
        values = [value] if isinstance(value, (str, bytes, bytearray, memoryview)) else list(value)
        pairs = self._read()
        at = next((i for i, known in enumerate(pairs) if known[0] == name), len(pairs))
        rest = [known for known in pairs[at:] if known[0] != name]
        if not values:
            return self._keep(pairs[:at] + rest)
        first, more = _pair(name, values[0]), [_pair(name, v) for v in values[1:]]
        return self._keep(pairs[:at] + [first] + rest + more)

    def add(self, name: str, value: Data) -> None:
        """Appends a pair."""
        self._keep(self._read() + [_pair(name, value)])

    def delete(self, name: str) -> None:
        """Removes all pairs of that name."""
        pairs = self._read()
        kept = [known for known in pairs if known[0] != name]
        if len(kept) != len(pairs):
            self._keep(kept)

    def entries(self) -> List[Tuple[str, str]]:
        """The pairs in order, names and values unescaped."""
        return [(name, value) for name, value, _ in self._read()]

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
        return iter([name for name, _, _ in self._read()])

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return "Query(%r)" % self.raw


def _unescape(part: bytes) -> str:
    return text(unquote_to_bytes(part.replace(b"+", b" ")))


def _pair(name: str, value: Data) -> Tuple[str, str, bytes]:
    data = octets(value)
    part = quote_plus(name, errors="surrogateescape") + "=" + quote_plus(data)
    return name, text(data), part.encode("ascii")
