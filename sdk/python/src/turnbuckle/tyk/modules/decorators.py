"""tyk.decorators: what marks functions as hooks."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Optional, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
MARK = "__tyk__"


class Mark:
    """What a decorator says of a function: its kind, and how many positional parameters it has, -1 for any number."""

    __slots__ = ("kind", "arguments")

    def __init__(self, kind: str, arguments: int) -> None:
        self.kind, self.arguments = kind, arguments


def _count(function: Callable[..., Any]) -> int:
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return -1
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


class HandlerDecorator:
    """The base of the decorators. They return what they decorate: it can be called as before, from other hooks or tests."""

    kind = "hook"

    def __new__(cls, function: Optional[F] = None) -> Any:
        if function is None:  # @Hook()
            return lambda f: cls(f)
        setattr(function, MARK, Mark(cls.kind, _count(function)))
        return function


class Hook(HandlerDecorator):
    """A hook. The number of its parameters says what it is given."""


class Pre(HandlerDecorator):
    """A hook before authentication."""


class Post(HandlerDecorator):
    """A hook before the upstream."""


class PostKeyAuth(HandlerDecorator):
    """A hook after authentication."""


class CustomKeyCheck(HandlerDecorator):
    """A hook that authenticates."""


class Response(HandlerDecorator):
    """A hook on replies."""


class Event(HandlerDecorator):
    """A function that is told of events."""

    kind = "event"


__all__ = ["HandlerDecorator", "Hook", "Pre", "Post", "PostKeyAuth", "CustomKeyCheck", "Response", "Event"]
