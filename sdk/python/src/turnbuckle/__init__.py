"""Plugins for the Turnbuckle gateway, in Python.

    import turnbuckle

    plugin = turnbuckle.Plugin("greeter", "1.0")

    @plugin.hook("pre", needs=["headers"])
    def greet(x: turnbuckle.Exchange) -> None:
        x.request.headers["X-Client"] = x.client

    if __name__ == "__main__":
        turnbuckle.serve(plugin)
"""

from turnbuckle.errors import Error, LoadError, NotAskedFor, ProtocolError, Refusal, StoreError
from turnbuckle.exchange import Exchange, Route, Trace
from turnbuckle.header import Headers
from turnbuckle.main import serve
from turnbuckle.message import Request, Response
from turnbuckle.peer import Peer
from turnbuckle.plugin import Batch, Plugin, hook, observer
from turnbuckle.query import Query
from turnbuckle.session import AccessDefinition, AccessSpec, BasicAuthData, JWTData, Monitor, Session
from turnbuckle.store import Store

__version__ = "0.1.0"

store = Store()
"""The gateway's store."""

__all__ = [
    "AccessDefinition", "AccessSpec", "BasicAuthData", "Batch", "Error", "Exchange", "Headers", "JWTData", "LoadError", "Monitor",
    "NotAskedFor", "Peer", "Plugin", "ProtocolError", "Query", "Refusal", "Request", "Response", "Route", "Session", "Store",
    "StoreError", "Trace", "hook", "observer", "serve", "store",
]
