"""The client of the gateway's store, against a server that answers as STORE.md says and one that does not."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

import pytest
from turnbuckle.errors import StoreError
from turnbuckle.storage import ENVIRONMENT, TOKEN, Store


class Gateway(ThreadingHTTPServer):
    """A gateway's store in memory. It keeps what was asked, and does as failures say: close, hang or a status, one each."""

    daemon_threads = True

    def __init__(self, address: Any, family: int = socket.AF_INET) -> None:
        self.address_family = family
        self.entries: Dict[bytes, Tuple[bytes, int]] = {}
        self.events: List[Any] = []
        self.asked: List[str] = []
        self.tokens: List[str] = []
        self.connections = 0
        self.failures: List[Any] = []
        self.released = threading.Event()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def get_request(self) -> Tuple[Any, Any]:
        self.connections += 1
        return self.socket.accept()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def address_string(self) -> str:
        return ""

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, status: int, body: bytes = b"", ttl: Optional[int] = None) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        if ttl is not None:
            self.send_header("X-Ttl", str(ttl))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _serve(self) -> None:
        store = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        store.asked.append("%s %s" % (self.command, self.path))
        store.tokens.append(self.headers.get("Authorization", ""))
        failure = store.failures.pop(0) if store.failures else None
        if failure == "close":
            self.close_connection = True
            return
        if failure == "hang":
            store.released.wait(30)
            self.close_connection = True
            return
        if failure:
            self._answer(failure, b"no\n")
            return
        parts = urlsplit(self.path)
        if parts.path == "/v1/events":
            store.events.append(json.loads(body))
            self._answer(204)
            return
        key = unquote_to_bytes(parts.path[len("/v1/store/") :])
        self._entry(key, {name: int(values[0]) for name, values in parse_qs(parts.query).items()}, body)

    def _entry(self, key: bytes, query: Dict[str, int], body: bytes) -> None:
        entries = self.server.entries
        found = entries.get(key)
        ttl = query.get("ttl", 0) or -1
        if self.command in ("GET", "HEAD"):
            self._answer(200, *found) if found else self._answer(404, b"nothing\n")
        elif self.command == "PUT" and found and query.get("new"):
            self._answer(409, b"there is something\n")
        elif self.command == "PUT":
            entries[key] = body, ttl
            self._answer(204)
        elif self.command == "DELETE":
            entries.pop(key, None)
            self._answer(204)
        else:
            total = b"%d" % (int(found[0] if found else 0) + query["incr"])
            entries[key] = total, found[1] if found else ttl
            self._answer(200, total)

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = _serve


@pytest.fixture
def gateways() -> Iterator[Callable[..., Gateway]]:
    """Starts stores that end with the test."""
    running: List[Gateway] = []

    def start(address: Any = ("127.0.0.1", 0), family: int = socket.AF_INET) -> Gateway:
        gateway = Gateway(address, family)
        threading.Thread(target=gateway.serve_forever, args=(0.01,), daemon=True).start()
        running.append(gateway)
        return gateway

    yield start
    for gateway in running:
        gateway.released.set()
        gateway.shutdown()
        gateway.server_close()


@pytest.fixture
def gateway(gateways: Any) -> Gateway:
    found: Gateway = gateways()
    return found


@pytest.fixture
def store(gateway: Gateway) -> Iterator[Store]:
    found = Store(url(gateway), "secret", timeout=30)
    yield found
    found.close()


def url(gateway: Gateway) -> str:
    return "http://%s:%d" % gateway.server_address[:2]


def test_entries(store: Store) -> None:
    assert store.get("a") is None and store.ttl("a") == -2
    store.set("a", "gr\u00fcn", 5)
    assert store.get("a") == "gr\u00fcn".encode() and store.ttl("a") == 5
    assert not store.set_new("a", b"other")
    assert store.get("a") == "gr\u00fcn".encode()
    store.delete("a")
    store.delete("a")
    assert store.set_new("a", bytearray(b"\x00\xff")) and store.ttl("a") == -1
    assert store.get("a") == b"\x00\xff"
    store.set("empty", b"")
    assert store.get("empty") == b""


def test_numbers(store: Store, gateway: Gateway) -> None:
    assert [store.incr("n", ttl=60), store.incr("n", 4), store.incr("n", -7)] == [1, 5, -2]
    assert store.get("n") == b"-2" and store.ttl("n") == 60
    assert gateway.asked[0] == "POST /v1/store/n?incr=1&ttl=60"


def test_events(store: Store, gateway: Gateway) -> None:
    store.trigger_event("Quota \u00e4", 'half "gone"')
    assert gateway.events == [{"type": "Quota \u00e4", "message": 'half "gone"'}]


@pytest.mark.parametrize("key", ["a/b", "a b?c#d%2F", "../x", "\u00e4", "\udcff", "k" * 256])
def test_keys(store: Store, gateway: Gateway, key: str) -> None:
    store.set(key, "v")
    assert list(gateway.entries) == [key.encode("utf-8", "surrogateescape")]
    assert gateway.asked[0].count("/") == 3  # one segment


@pytest.mark.parametrize("key", ["", "k" * 257, "\u00e4" * 129])
def test_no_keys(store: Store, gateway: Gateway, key: str) -> None:
    for use in (store.get, store.delete, store.ttl, store.incr, lambda k: store.set(k, b"")):
        with pytest.raises(StoreError, match="1 to 256 bytes"):
            use(key)
    assert gateway.asked == []


def test_no_values(store: Store, gateway: Gateway) -> None:
    number: Any = 5
    with pytest.raises(TypeError):
        store.set("a", number)  # bytes(5) are five zeros
    assert gateway.entries == {}


@pytest.mark.parametrize("ttl, seconds", [(0, 0), (0.001, 1), (1, 1), (1.5, 2), (59.999, 60)])
def test_ttl(store: Store, gateway: Gateway, ttl: float, seconds: int) -> None:
    store.set("a", "v", ttl)
    assert gateway.asked == ["PUT /v1/store/a?ttl=%d" % seconds]


@pytest.mark.parametrize("ttl", [-1, -0.1, float("nan"), float("inf")])
def test_no_ttl(store: Store, gateway: Gateway, ttl: float) -> None:
    with pytest.raises(StoreError, match="ttl"):
        store.set("a", "v", ttl)
    assert gateway.asked == []


def test_one_connection(store: Store, gateway: Gateway) -> None:
    """A connection for each thread, also after errors; each request with the token."""
    gateway.failures = [503]
    with pytest.raises(StoreError, match="answered 503 to PUT: no"):
        store.set("a", "v")
    for _ in range(5):
        store.incr("n")
        assert store.ttl("nothing") == -2
    assert gateway.connections == 1

    def other() -> None:
        store.incr("n")
        store.close()

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert gateway.connections == 2 and store.get("n") == b"6"
    assert set(gateway.tokens) == {"Bearer secret"}


@pytest.mark.parametrize("status", [400, 401, 404, 405, 413, 503])
def test_refusals(store: Store, gateway: Gateway, status: int) -> None:
    gateway.failures = [status]
    with pytest.raises(StoreError, match="answered %d to POST: no$" % status):
        store.trigger_event("E", "m")


def test_closed_connections(store: Store, gateway: Gateway) -> None:
    """What the server closes is asked again once, when it was kept; but never a POST, which may have been done."""
    store.set("a", "v")
    for ask in (lambda: store.get("a"), lambda: store.ttl("a"), lambda: store.set("a", "v"), lambda: store.delete("b")):
        gateway.failures = ["close"]
        ask()
    gateway.failures = ["close"]
    with pytest.raises(StoreError, match="does not answer"):
        store.incr("n")
    assert gateway.asked.count("POST /v1/store/n?incr=1&ttl=0") == 1
    assert store.incr("n") == 1  # on a new connection
    gateway.failures = ["close", "close"]
    with pytest.raises(StoreError, match="does not answer"):
        store.get("a")
    store.close()
    gateway.failures = ["close"]
    with pytest.raises(StoreError, match="does not answer"):
        store.get("a")  # a new connection is no kept one
    assert gateway.asked[-1] == "GET /v1/store/a" and gateway.failures == []


def test_silence(gateway: Gateway) -> None:
    """A server that does not answer is waited for once, whatever connection there was."""
    store = Store(url(gateway), timeout=0.5)
    store.set("a", "v")
    gateway.failures = ["hang", "hang"]
    began = time.monotonic()
    with pytest.raises(StoreError, match="does not answer"):
        store.get("a")
    assert time.monotonic() - began >= 0.5
    assert gateway.asked.count("GET /v1/store/a") == 1
    gateway.failures = []
    assert store.get("a") == b"v"  # a late answer would be on the other connection
    store.close()


@pytest.mark.parametrize("form", ["unix:%s", "unix://%s"])
def test_sockets(gateways: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.chdir(tmp_path)  # the paths of sockets are short
    gateway = gateways("s", socket.AF_UNIX)
    store = Store(form % os.path.relpath("s") if form == "unix:%s" else form % (tmp_path / "s"))
    store.set("a", "v")
    assert store.get("a") == b"v" and gateway.tokens == ["", ""]
    store.close()


def test_environment(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, url(gateway))
    monkeypatch.setenv(TOKEN, "lent")
    store = Store()
    store.set("a", "v")
    assert gateway.tokens == ["Bearer lent"]
    store.close()


@pytest.mark.parametrize("address, says", [
    ("", "TURNBUCKLE_STORE is not set"), ("ftp://x", "want unix:PATH or http://HOST:PORT"),
    ("unix:/nowhere/s", "does not answer.*No such file"), ("http://127.0.0.1:1", "does not answer.*refused"),
])
def test_no_store(address: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with pytest.raises(StoreError, match=says):
        Store(address, timeout=30).get("a")


def test_tyk(tyk_folder: Any, gateway: Gateway) -> None:
    """What Tyk's plugins call, in a worker that has inherited where the store is."""
    from turnbuckle._pb import coprocess_object_pb2 as tyk

    server = tyk_folder({"middleware.py": """
from tyk.decorators import *
from gateway import TykGateway

@Hook
def Keep(request, session, spec):
    before = TykGateway.get_data("seen")
    TykGateway.store_data("seen", "yes", 7)
    TykGateway.trigger_event("Seen", "it was")
    request.add_header("X-Seen", "%r %r" % (before, TykGateway.get_data("seen")))
    return request, session
"""}, TURNBUCKLE_STORE=url(gateway), TURNBUCKLE_STORE_TOKEN="lent")
    reply = server.dispatch(tyk.Object(hook_type="Pre", hook_name="Keep", request={}))
    assert reply.request.set_headers["X-Seen"] == "b'' b'yes'"
    assert gateway.entries == {b"seen": (b"yes", 7)}
    assert gateway.events == [{"type": "Seen", "message": "it was"}]
    assert set(gateway.tokens) == {"Bearer lent"}
