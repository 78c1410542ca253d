"""The gRPC server: both protocols and the health service, in front of what runs the hooks: this process, or workers.

Where there are several, one process serves the address and distributes calls among them. It does so, instead of each
listening with SO_REUSEPORT or on a socket of its own, because hosts make one connection to an address (Tyk's gateway, and ours), which the kernel would give to one worker for good; because a worker that dies then ends no connection; and because one
process that sees all calls can give each to the worker with the least to do."""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Set, Tuple, Union

import grpc

from turnbuckle import link
from turnbuckle.listen import Listener
from turnbuckle.local import Local
from turnbuckle.pool import DispatchFailed, Pool
from turnbuckle.stream import Stream

log = logging.getLogger("turnbuckle")
_STATUS = {code.value[0]: code for code in grpc.StatusCode}
NATIVE, TYK = "turnbuckle.plugin.v1.Plugin", "coprocess.Dispatcher"


class Broken(Exception):
    """The server cannot go on."""


@dataclass
class Options:
    """How to serve. protocols are native and tyk; linger and grace are seconds, see Server.stop; credit is how many calls
    a stream may have at once; max_message bounds what is received, in bytes."""

    address: str = ""
    protocols: Tuple[str, ...] = ("native", "tyk")
    credit: int = 1024
    linger: float = 2.0
    grace: float = 10.0
    max_message: int = 4 << 20
    socket_mode: int = 0o600
    takeover: bool = False
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""


class Server:
    """Serves a pool of workers at an address."""

    def __init__(self, pool: Union[Pool, Local], options: Options) -> None:
        self._pool, self._options = pool, options
        self._streams: Set[Stream] = set()
        self._draining = False
        self._changed: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()
        pool.on_change = self._change
        self._server = grpc.aio.server(options=[
            ("grpc.http2.min_ping_interval_without_data_ms", 5000),  # the host may ping as often
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.max_receive_message_length", options.max_message),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 1 if options.takeover else 0),
        ])
        self._server.add_generic_rpc_handlers(tuple(self._handlers()))
        self._listener: Optional[Listener] = None

    def _handlers(self) -> List[Any]:
        services: Dict[str, Dict[str, Any]] = {
            "grpc.health.v1.Health": {
                "Check": grpc.unary_unary_rpc_method_handler(self._check),
                "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
            },
        }
        if "native" in self._options.protocols:
            services[NATIVE] = {
                "Describe": grpc.unary_unary_rpc_method_handler(self._describe),
                "Session": grpc.stream_stream_rpc_method_handler(self._session),
            }
        if "tyk" in self._options.protocols:
            services[TYK] = {
                "Dispatch": grpc.unary_unary_rpc_method_handler(self._dispatch),
                "DispatchEvent": grpc.unary_unary_rpc_method_handler(self._dispatch_event),
            }
        return [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]

    async def start(self) -> str:
        """Listens, and returns the address, with the port that the system chose."""
        o = self._options
        self._listener = Listener(self._server, o.address, o.socket_mode, o.takeover, _credentials(o))
        await self._server.start()
        self._listener.announce()
        return self._listener.address

    async def stop(self) -> None:
        """Stops without losing a call: GOAWAY first, so that hosts connect to who has taken the address over; after linger
        seconds hosts that are left are asked to leave, and everything ends at most grace seconds later."""
        ending = asyncio.ensure_future(self._server.stop(self._options.linger + self._options.grace))
        await asyncio.wait((ending,), timeout=self._options.linger)
        self._draining = True
        self._change()
        for stream in self._streams:
            stream.drain()
        deadline = asyncio.get_running_loop().time() + self._options.grace
        while self._streams and not ending.done() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        await self._server.stop(0.1)  # health watches may be left
        await ending
        if self._listener is not None:
            self._listener.close()

    async def _describe(self, request: bytes, context: Any) -> bytes:
        return self._pool.description

    async def _session(self, requests: Any, context: Any) -> None:
        stream: Stream = self._pool.session(context, self._options.credit)
        if self._draining:
            stream.drain()
        self._streams.add(stream)
        try:
            await stream.serve()
        finally:
            self._streams.discard(stream)

    async def _dispatch(self, request: bytes, context: Any) -> bytes:
        try:
            return await self._pool.dispatch(request, context.time_remaining())
        except DispatchFailed as e:
            await context.abort(_STATUS.get(e.status, grpc.StatusCode.INTERNAL), e.message)
            raise  # abort does not return

    async def _dispatch_event(self, request: bytes, context: Any) -> bytes:
        if not self._pool.observe(link.EVENT, request):
            log.warning("an event was dropped: the observers are behind")
        return b""

    # grpc.health.v1, whose messages have one field each: service = 1, status = 1.

    def _change(self) -> None:
        changed, self._changed = self._changed, asyncio.get_running_loop().create_future()
        changed.set_result(None)

    def _health(self, request: bytes) -> bytes:
        service = request[2:].decode("utf-8", "replace")
        if service not in ("", NATIVE, TYK, "plugin"):
            return b"\x08\x03"  # SERVICE_UNKNOWN
        serving = not self._draining and self._pool.serving
        return b"\x08\x01" if serving else b"\x08\x02"

    async def _check(self, request: bytes, context: Any) -> bytes:
        health = self._health(request)
        if health == b"\x08\x03":
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return health

    async def _watch(self, request: bytes, context: Any) -> None:
        told = b""
        while True:
            changed = self._changed
            health = self._health(request)
            if health != told:
                await context.write(health)
                told = health
            await asyncio.shield(changed)


def _credentials(o: Options) -> Any:
    if not o.tls_cert:
        return None
    with open(o.tls_key or o.tls_cert, "rb") as key, open(o.tls_cert, "rb") as cert:
        pair = (key.read(), cert.read())
    roots = None
    if o.tls_client_ca:
        with open(o.tls_client_ca, "rb") as f:
            roots = f.read()
    return grpc.ssl_server_credentials([pair], roots, roots is not None)


async def run(make: Callable[[], Union[Pool, Local]], options: Options) -> None:
    """Serves what make makes, until SIGTERM or SIGINT. Raises LoadError when the plugin cannot be loaded, and Broken."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    pool = make()
    try:
        starting, stopping = loop.create_task(pool.start()), loop.create_task(stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            return
        await starting
        server = Server(pool, options)
        print("listening on", await server.start(), flush=True)
        await asyncio.wait((stopping, pool.failed), return_when=asyncio.FIRST_COMPLETED)
        if pool.failed.done():
            raise Broken("nothing runs hooks any more")
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # who presses Ctrl-C again will not wait; SIGTERM often comes twice
        await server.stop()
    finally:
        await pool.stop()
    print("stopped", flush=True)
