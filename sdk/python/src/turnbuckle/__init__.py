"""Plugins for the Turnbuckle gateway, in Python.

    import turnbuckle

    plugin = turnbuckle.Plugin("greeter", "1.0")

    @plugin.hook("pre", needs=["headers"])
    def greet(x: turnbuckle.Exchange) -> None:
        x.request.headers["X-Client"] = x.client

    if __name__ == "__main__":
        turnbuckle.serve(plugin)
"""

from typing import TYPE_CHECKING, Any

__version__ = "1.0.0"

if TYPE_CHECKING:
    from turnbuckle.errors import Error, LoadError, NotAskedFor, ProtocolError, Refusal, StoreError
    from turnbuckle.exchange import Exchange, Route, Trace
    from turnbuckle.header import Headers
    from turnbuckle.main import serve
    from turnbuckle.message import Request, Response
    from turnbuckle.peer import Peer
    from turnbuckle.plugin import Batch, Plugin, hook, observer
    from turnbuckle.query import Query
    from turnbuckle.session import AccessDefinition, AccessSpec, BasicAuthData, JWTData, Monitor, Session
    from turnbuckle.storage import Store, store

__all__ = [
    "AccessDefinition", "AccessSpec", "BasicAuthData", "Batch", "Error", "Exchange", "Headers", "JWTData", "LoadError", "Monitor",
    "NotAskedFor", "Peer", "Plugin", "ProtocolError", "Query", "Refusal", "Request", "Response", "Route", "Session", "Store",
    "StoreError", "Trace", "hook", "observer", "serve", "store",
]

_MODULES = {
    "errors": ("Error", "LoadError", "NotAskedFor", "ProtocolError", "Refusal", "StoreError"),
    "exchange": ("Exchange", "Route", "Trace"),
    "header": ("Headers",),
    "main": ("serve",),
    "message": ("Request", "Response"),
    "peer": ("Peer",),
    "plugin": ("Batch", "Plugin", "hook", "observer"),
    "query": ("Query",),
    "session": ("AccessDefinition", "AccessSpec", "BasicAuthData", "JWTData", "Monitor", "Session"),
    "storage": ("Store", "store"),
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for: an interpreter without protobuf can import this module, and say what it lacks."""
    from importlib import import_module

    for module, names in _MODULES.items():
        if name in names:
            value = globals()[name] = getattr(import_module("turnbuckle." + module), name)
            return value
    raise AttributeError("module 'turnbuckle' has no attribute %r" % name)
