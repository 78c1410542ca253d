"""Servers under test, and hosts for them."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import grpc
import pytest
from turnbuckle._pb import coprocess_object_pb2 as tyk
from turnbuckle._pb import plugin_pb2 as pb

SOURCE = str(Path(__file__).resolve().parent.parent / "src")
_CACHE = os.path.join(tempfile.gettempdir(), "turnbuckle-pycache-%d" % os.getuid())  # not in the sources, and not compiled for each process
PATIENCE = 120.0  # seconds, of a machine that has other things to do


def environment(**more: str) -> Dict[str, str]:
    """The environment of a server under test."""
    path = os.environ.get("TURNBUCKLE_TEST_PACKAGE", SOURCE)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TURNBUCKLE_") and k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": _CACHE, **more}


class Server:
    """A server, and what it writes."""

    def __init__(self, *arguments: str, **env: str) -> None:
        self.process = subprocess.Popen([sys.executable, *arguments], env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: "queue.Queue[Optional[str]]" = queue.Queue()
        self.errors: List[str] = []
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def _read_errors(self) -> None:
        for line in self.process.stderr or ():
            self.errors.append(line.rstrip("\n"))

    def ready(self) -> "Server":
        """Waits until it listens."""
        while True:
            line = self.lines.get(timeout=PATIENCE)
            assert line is not None, "the server ended: %s" % "\n".join(self.errors)
            if line.startswith("listening on "):
                self.address = line[len("listening on ") :]
                self.channel = grpc.insecure_channel(self.address)
                return self

    def wait(self) -> int:
        """Waits until it has ended, and returns the status."""
        status = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return status

    def stop(self) -> int:
        """Tells it to stop."""
        if hasattr(self, "channel"):
            self.channel.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def dispatch(self, o: Any, timeout: float = PATIENCE) -> Any:
        """A call of Tyk's protocol."""
        call = self.channel.unary_unary("/coprocess.Dispatcher/Dispatch", tyk.Object.SerializeToString, tyk.Object.FromString)
        return call(o, timeout=timeout)

    def session(self) -> "Session":
        """A session of the native protocol."""
        return Session(self.channel)

    def describe(self) -> Any:
        """What it says of itself."""
        call = self.channel.unary_unary("/turnbuckle.plugin.v1.Plugin/Describe", pb.DescribeRequest.SerializeToString, pb.DescribeReply.FromString)
        return call(pb.DescribeRequest(), timeout=PATIENCE)

    def workers(self) -> List[int]:
        """The processes of its workers."""
        with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as f:
            return [int(n) for n in f.read().split()]


class Session:
    """A host's end of a session."""

    def __init__(self, channel: Any) -> None:
        self._out: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        call = channel.stream_stream("/turnbuckle.plugin.v1.Plugin/Session", pb.HostFrame.SerializeToString, pb.PluginFrame.FromString)
        self._stream = call(iter(self._out.get, None))
        self._seq = self._ids = self._bindings = 0
        self.replies: Dict[int, Any] = {}
        assert next(self._stream).credit > 0

    def bind(self, *names: str, phase: str = "pre", config: bytes = b"", **route: str) -> int:
        """Names hooks of a phase; the number is for calls."""
        self._bindings += 1
        number = getattr(pb, "PHASE_" + phase.upper())
        binding = pb.Binding(id=self._bindings, phase=number, hooks=[pb.HookUse(name=n, config=config) for n in names], route=pb.Route(**route))
        self._send(bindings=[binding])
        return self._bindings

    def _send(self, **parts: Any) -> None:
        self._seq += 1
        self._out.put(pb.HostFrame(seq=self._seq, **parts))

    def send(self, *calls: Any) -> List[int]:
        """Sends calls in one frame and returns their ids."""
        ids = []
        for call in calls:
            self._ids += 1
            call.id = self._ids
            ids.append(self._ids)
        self._send(calls=calls)
        return ids

    def wait(self, id: int) -> Any:
        """Waits for a reply."""
        while id not in self.replies:
            for reply in next(self._stream).replies:
                self.replies[reply.id] = reply
        return self.replies[id]

    def call(self, binding: int, **fields: Any) -> Any:
        """Makes a call and waits for its reply."""
        return self.wait(self.send(pb.Call(binding=binding, **request(**fields)))[0])

    def close(self) -> None:
        """Ends it."""
        self._out.put(None)
        self._stream.cancel()


def request(**fields: Any) -> Dict[str, Any]:
    """The fields of a usual request."""
    return {"method": b"GET", "path": b"/", "scheme": b"http", "host": b"localhost", "client": "127.0.0.1:40000", **fields}


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Starts servers that end with the test."""
    servers: List[Server] = []

    def start(*arguments: str, **env: str) -> Server:
        servers.append(Server(*arguments, **env))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def serve(start: Any, tmp_path: Path) -> Callable[..., Server]:
    """Serves a plugin whose text is given."""

    def serve(text: str, *flags: str, **env: str) -> Server:
        (tmp_path / "plugin.py").write_text(text)
        return start("-m", "turnbuckle", "serve", str(tmp_path), "--listen", "127.0.0.1:0", "--linger", "0", "--workers", "2", *flags, **env).ready()

    return serve


@pytest.fixture
def tyk_folder(start: Any, tmp_path: Path) -> Callable[..., Server]:
    """Serves a folder with a plugin for Tyk, whose files are given."""

    def serve(files: Dict[str, str], *flags: str, ready: bool = True, **env: str) -> Server:
        for name, text in files.items():
            path = tmp_path / "folder" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        server = start("-m", "turnbuckle", "tyk", "--folder", str(tmp_path / "folder"), "--native", "--listen", "127.0.0.1:0", "--linger", "0", "--workers", "1", *flags, **env)
        return server.ready() if ready else server

    return serve


def until(what: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Waits until something holds of another process."""
    end = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)
    return found


def failures(replies: Sequence[Any]) -> List[str]:
    """The messages of replies that failed."""
    return [r.failure.message for r in replies if r.HasField("failure")]
