"""The gateway's store: what plugins keep beyond a call, the same for all workers, gateways on the same store and reloads.

It is reached over a small HTTP interface at TURNBUCKLE_STORE, which STORE.md specifies. Calls are for all threads; they
wait, so async hooks call them through asyncio.to_thread or on threads of their own."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from typing import Any, Dict, Optional, Tuple
from urllib.parse import quote, urlsplit

from turnbuckle.errors import StoreError
from turnbuckle.syntax import Data, octets

ENVIRONMENT = "TURNBUCKLE_STORE"
TOKEN = "TURNBUCKLE_STORE_TOKEN"
_TIMEOUT = 1.0  # seconds, as Tyk's
_KEEP = 30.0  # seconds that a connection nobody uses is kept


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Store:
    """A client of a store, with a connection for each thread. Keys are 1 to 256 bytes, values up to 64 KiB."""

    def __init__(self, address: str = "", token: str = "", timeout: float = _TIMEOUT) -> None:
        self._address, self._token, self._timeout = address, token, timeout
        self._mine = threading.local()

    def get(self, key: str) -> Optional[bytes]:
        """What is under key; None when nothing."""
        status, _, body = self._ask("GET", key, good=(200, 404))
        return body if status == 200 else None

    def set(self, key: str, value: Data, ttl: float = 0) -> None:
        """Keeps value under key for ttl seconds; 0: for good."""
        self._ask("PUT", key, "?ttl=%d" % _seconds(ttl), octets(value), (204,))

    def set_new(self, key: str, value: Data, ttl: float = 0) -> bool:
        """Keeps value where there is nothing yet; whether it did."""
        status, _, _ = self._ask("PUT", key, "?ttl=%d&new=1" % _seconds(ttl), octets(value), (204, 409))
        return status == 204

    def delete(self, key: str) -> None:
        """Takes what is under key away."""
        self._ask("DELETE", key, good=(204,))

    def ttl(self, key: str) -> int:
        """Seconds left; -1: for good; -2: there is nothing."""
        status, headers, _ = self._ask("HEAD", key, good=(200, 404))
        return -2 if status == 404 else int(headers.get("X-Ttl", "-1"))

    def incr(self, key: str, delta: int = 1, ttl: float = 0) -> int:
        """Adds to the number under key, 0 when there is none, for which ttl holds then; returns the sum."""
        _, _, body = self._ask("POST", key, "?incr=%d&ttl=%d" % (delta, _seconds(ttl)), b"", (200,))
        return int(body)

    def trigger_event(self, name: str, message: str) -> None:
        """Has the gateway send an event of that type."""
        text = json.dumps({"type": name, "message": message}).encode()
        self._request("POST", "/v1/events", text, (204,))

    def _ask(self, method: str, key: str, more: str = "", body: Optional[bytes] = None, good: Tuple[int, ...] = ()) -> Tuple[int, Any, bytes]:
        name = octets(key)
        if not 1 <= len(name) <= 256:
            raise StoreError("a key of the store has 1 to 256 bytes: %.80r" % (key,))
        return self._request(method, "/v1/store/" + quote(name, safe="") + more, body, good)

    def _request(self, method: str, path: str, body: Optional[bytes], good: Tuple[int, ...]) -> Tuple[int, Any, bytes]:
        headers: Dict[str, str] = {}
        token = self._token or os.environ.get(TOKEN, "")
        if token:
            headers["Authorization"] = "Bearer " + token
        if time.monotonic() - getattr(self._mine, "used", 0.0) > _KEEP:
            self.close()  # the server may close it at any moment
        fresh = getattr(self._mine, "connection", None) is None
        while True:
            connection = self._connection()
            try:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                data = response.read()
                self._mine.used = time.monotonic()
                break
            except (OSError, http.client.HTTPException) as e:
                self.close()
                # What a POST asks for may have been done, and is not done twice; who was silent once would be for as long again.
                if fresh or method == "POST" or isinstance(e, socket.timeout):
                    raise StoreError("the gateway's store does not answer: %s" % (e,)) from e
                fresh = True
        if response.status not in good:
            raise StoreError("the gateway's store answered %d to %s: %s" % (response.status, method, data[:200].decode("utf-8", "replace").strip()))
        return response.status, response.headers, data

    def _connection(self) -> http.client.HTTPConnection:
        connection: Optional[http.client.HTTPConnection] = getattr(self._mine, "connection", None)
        if connection is None:
            connection = self._mine.connection = _connect(self._address or os.environ.get(ENVIRONMENT, ""), self._timeout)
        return connection

    def close(self) -> None:
        """Closes this thread's connection; the next call makes another."""
        connection = getattr(self._mine, "connection", None)
        self._mine.connection = None
        if connection is not None:
            connection.close()


def _connect(address: str, timeout: float) -> http.client.HTTPConnection:
    if address.startswith("unix:"):
        path = address[len("unix:") :]
        return _UnixConnection(path[2:] if path.startswith("//") else path, timeout)
    if address.startswith("http://"):
        parts = urlsplit(address)
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    if not address:
        raise StoreError("there is no store: %s is not set; the gateway that starts a plugin sets it" % ENVIRONMENT)
    raise StoreError("%s=%r: want unix:PATH or http://HOST:PORT" % (ENVIRONMENT, address))


def _seconds(ttl: float) -> int:
    """Whole seconds, rounded up: what should be kept for a moment is not kept for good."""
    if not 0 <= ttl < float("inf"):
        raise StoreError("a ttl is a number of seconds, and not negative: %r" % (ttl,))
    return -int(-ttl // 1)


store = Store()
"""The gateway's store."""
