"""Calls of hooks written for Tyk, in both protocols."""

from __future__ import annotations

import inspect
from typing import Any, Callable

from turnbuckle.exchange import Exchange
from turnbuckle.tyk.apply import apply
from turnbuckle.tyk.modules.gateway import current
from turnbuckle.tyk.modules.request import TykCoProcessRequest
from turnbuckle.tyk.objects import object_of


class Runner:
    """A function that is a hook, and how many positional parameters it has."""

    def __init__(self, name: str, function: Callable[..., Any], arguments: int) -> None:
        self.name, self.function, self.arguments = name, function, arguments

    def run(self, x: Exchange) -> Any:
        """Runs the hook on an exchange, for the native protocol. An awaitable when the hook is asynchronous."""
        sent = object_of(x, self.name)
        waits = self.dispatch(sent.object, x)
        if waits is not None:
            return self._later(waits, x, sent)
        apply(x, sent)
        return None

    @staticmethod
    async def _later(waits: Any, x: Exchange, sent: Any) -> None:
        await waits
        apply(x, sent)

    def dispatch(self, o: Any, x: Exchange) -> Any:
        """Runs the hook on an Object, which it changes in place. An awaitable when the hook is asynchronous."""
        session = o.session
        request, metadata = TykCoProcessRequest(o.request), session.metadata
        token = current.set(x)
        try:
            if self.arguments == 4:
                result = self.function(request, session, metadata, o.spec)
            elif self.arguments == 3:
                result = self.function(request, session, o.spec)
            elif self.arguments == 5:
                result = self.function(request, o.response, session, metadata, o.spec)
            else:
                raise TypeError("hook %s has to have 3, 4 or 5 parameters" % self.name)
        finally:
            current.reset(token)
        if self.arguments == 4:
            if type(result) is tuple and len(result) == 3 and result[2] is metadata:
                return None
        elif type(result) is tuple or result is None or not inspect.isawaitable(result):
            return None  # edits in place are what counts
        if inspect.isawaitable(result):
            return self._wait(result, metadata, x)
        _merge(result, metadata)
        return None

    async def _wait(self, result: Any, metadata: Any, x: Exchange) -> None:
        current.set(x)  # for this task alone
        result = await result
        if self.arguments == 4:
            _merge(result, metadata)


def _merge(result: Any, metadata: Any) -> None:
    """Takes the metadata that a hook with 4 parameters has returned, which may be another mapping."""
    if isinstance(result, tuple) and len(result) == 3 and result[2] is not metadata and result[2] is not None:
        for key, value in dict(result[2]).items():
            metadata[key] = value
