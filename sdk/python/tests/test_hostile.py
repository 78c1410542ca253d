"""What SHIM.md says of hooks that raise, end, block or kill their worker: what becomes of the call, and that others go on."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

import grpc
import pytest
from conftest import PATIENCE, environment, request, until
from turnbuckle._pb import plugin_pb2 as pb

PLUGIN = '''
import ctypes, os, sys, threading, time
import turnbuckle

@turnbuckle.hook("pre")
def raises(x):
    x.request.headers["X-Lost"] = "1"
    {}["nothing"]

@turnbuckle.hook("pre")
def exits(x):
    sys.exit(3)

@turnbuckle.hook("pre")
def segfaults(x):
    ctypes.string_at(0)

@turnbuckle.hook("pre")
def ends(x):
    os._exit(7)

@turnbuckle.hook("pre")
def blocks(x):
    ctypes.PyDLL(None).sleep(60)  # holds the interpreter's lock

@turnbuckle.hook("pre")
def sleeps(x):
    time.sleep(float(x.config))

@turnbuckle.hook("pre")
def spins(x):
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        pass

@turnbuckle.hook("pre")
def quick(x):
    x.request.headers["X-Process"] = str(os.getpid())
    x.request.headers["X-Thread"] = threading.current_thread().name

@turnbuckle.hook("pre")
async def cancelled(x):
    import asyncio
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        turnbuckle_cancelled.append(1)
        raise

@turnbuckle.hook("pre")
def count_cancelled(x):
    x.request.headers["X-Count"] = str(len(turnbuckle_cancelled))

turnbuckle_cancelled = []
'''


def header(reply: Any, name: str) -> str:
    assert not reply.HasField("failure"), reply.failure.message
    return next(op.value.decode() for op in reply.effects.headers if op.name == name)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_raises_and_exits(serve: Any, workers: str) -> None:
    server = serve(PLUGIN, "--workers", workers)
    before = server.workers()
    session = server.session()
    reply = session.call(session.bind("raises"))
    assert reply.failure.code == pb.FAILURE_CODE_FAILED and reply.failure.message == "KeyError: 'nothing' (plugin.py, line 8)"
    assert not reply.effects.headers
    reply = session.call(session.bind("exits"))
    assert reply.failure.code == pb.FAILURE_CODE_FAILED and reply.failure.message.startswith("SystemExit: 3")
    assert header(session.call(session.bind("quick")), "X-Process")
    assert server.workers() == before
    session.close()


@pytest.mark.parametrize("hook", ["segfaults", "ends"])
def test_worker_dies(serve: Any, hook: str) -> None:
    server = serve(PLUGIN)
    before = set(server.workers())
    session = server.session()
    deadly, quick = session.bind(hook), session.bind("quick")
    sent = session.send(pb.Call(binding=deadly, **request()))
    reply = session.wait(sent[0])
    assert reply.failure.code == pb.FAILURE_CODE_FAILED and "worker ended" in reply.failure.message
    began = time.monotonic()
    assert header(session.call(quick), "X-Process")  # from the other worker, at once
    assert time.monotonic() - began < 5
    until(lambda: [pid in before for pid in sorted(server.workers(), key=before.__contains__)] == [False, True])
    assert any("another is started" in line for line in server.errors)
    session.close()


@pytest.mark.parametrize("hook, status", [("segfaults", -11), ("ends", 7)])
def test_the_only_worker_dies(serve: Any, hook: str, status: int) -> None:
    """It is the server that ends then, and whoever has calls there learns it at once."""
    server = serve(PLUGIN, "--workers", "1")
    assert server.workers() == []
    session = server.session()
    sent = session.send(pb.Call(binding=session.bind(hook), **request()))
    with pytest.raises(Exception):
        session.wait(sent[0])
    assert server.wait() == status


def test_stops_beside_hooks_that_run(serve: Any) -> None:
    """A hook that never ends holds the end of a server up for no longer than its grace."""
    server = serve(PLUGIN, "--workers", "1", "--linger", "0.2", "--grace", "0.5")
    session = server.session()
    session.send(pb.Call(binding=session.bind("sleeps", config=b"600"), **request()))
    session.call(session.bind("quick"))
    assert server.stop() == 0


def test_more_calls_than_a_stream_may_have(serve: Any) -> None:
    server = serve(PLUGIN, "--workers", "1")
    session = server.session()
    sleeps = session.bind("sleeps", config=b"0.5")
    sent = session.send(*[pb.Call(binding=sleeps, **request()) for _ in range(1025)])
    last = session.wait(sent[-1])
    assert last.failure.code == pb.FAILURE_CODE_OVERLOADED
    assert not session.wait(sent[0]).HasField("failure")
    session.close()


def test_interpreter_blocked(serve: Any) -> None:
    """The worker is killed after 8 s; calls on the other one are answered meanwhile."""
    server = serve(PLUGIN)
    session = server.session()
    blocks, quick = session.bind("blocks"), session.bind("quick")
    began = time.monotonic()
    blocked = session.send(pb.Call(binding=blocks, **request()))[0]
    for _ in range(20):
        session.call(quick)
        assert blocked not in session.replies
    assert time.monotonic() - began < 8
    assert "worker ended" in session.wait(blocked).failure.message
    assert time.monotonic() - began < 12
    until(lambda: len(server.workers()) == 2)
    session.close()


def test_waiting_hooks_hold_nobody(serve: Any) -> None:
    server = serve(PLUGIN, "--workers", "1")
    session = server.session()
    sleeps, quick = session.bind("sleeps", config=b"2"), session.bind("quick")
    slow = session.send(*[pb.Call(binding=sleeps, **request()) for _ in range(30)])
    for _ in range(20):
        session.call(quick)
    assert not set(slow) & set(session.replies)
    began = time.monotonic()
    for id in slow:
        assert not session.wait(id).HasField("failure")
    assert time.monotonic() - began < 30  # one after another they take 60 s
    session.close()


def test_computing_hooks_hold_nobody(serve: Any) -> None:
    server = serve(PLUGIN, "--workers", "1")
    session = server.session()
    quick, spins = session.bind("quick"), session.bind("spins")
    assert header(session.call(quick), "X-Thread") == "turnbuckle-lead"
    spinning = session.send(pb.Call(binding=spins, **request()))[0]
    session.call(quick)
    assert spinning not in session.replies
    assert not session.wait(spinning).HasField("failure")
    assert header(session.call(quick), "X-Thread") == "turnbuckle-lead"
    session.close()


def test_deadline_ends_and_cancels(serve: Any) -> None:
    server = serve(PLUGIN, "--workers", "1")
    session = server.session()
    reply = session.call(session.bind("cancelled"), timeout_us=50_000)
    assert reply.failure.code == pb.FAILURE_CODE_TIMEOUT
    count = session.bind("count_cancelled")
    until(lambda: header(session.call(count), "X-Count") == "1")
    session.close()


def test_load_failures(start: Any, tmp_path: Any) -> None:
    cases = {
        "missing": ("import turnbuckle\nimport not_there.at_all\n", "missing-module", {"module": "not_there", "line": 2}),
        "exits": ("import sys\nsys.exit(0)\n", "load", {"line": 2}),
        "raises": ("\n\n1 / 0\n", "load", {"line": 3}),
        "syntax": ("def pre(:\n", "load", {"line": 1}),
        "empty": ("x = 1\n", "load", {}),
        "dies": ("import os\nos._exit(9)\n", "load", {}),
    }
    servers = {}
    for name, (text, _, _) in cases.items():
        (tmp_path / (name + ".py")).write_text(text)
        servers[name] = start("-m", "turnbuckle", "serve", str(tmp_path / (name + ".py")), "--listen", "127.0.0.1:0", "--workers", "2" if name in ("missing", "dies") else "1")
    for name, (_, kind, details) in cases.items():
        server = servers[name]
        assert server.wait() == 3, name
        found = [line for line in server.errors if line.startswith("turnbuckle-error ")]
        assert len(found) == 1, server.errors
        told = json.loads(found[0][len("turnbuckle-error ") :])
        assert told["kind"] == kind, told
        for key, value in details.items():
            assert told[key] == value, told
        if name != "dies":
            assert told["interpreter"] == sys.executable and sys.executable in told["message"] and name + ".py" in told["message"]


def test_other_statuses(start: Any, tmp_path: Any) -> None:
    (tmp_path / "plugin.py").write_text("def pre(x): pass\n")
    taken = start("-m", "turnbuckle", "serve", str(tmp_path), "--listen", "unix:%s/s" % tmp_path, "--workers", "1").ready()
    again = start("-m", "turnbuckle", "serve", str(tmp_path), "--listen", "unix:%s/s" % tmp_path, "--workers", "1")
    assert again.wait() == 1
    assert any('"kind": "address"' in line for line in again.errors)
    assert start("-m", "turnbuckle", "serve", str(tmp_path), "--workers", "0", "--listen", "127.0.0.1:0").wait() == 2
    assert taken.stop() == 0


def test_probe_and_unfit_interpreter(start: Any, tmp_path: Any) -> None:
    probe = start("-m", "turnbuckle", "probe")
    assert probe.wait() == 0 and json.loads(probe.lines.get(timeout=PATIENCE))["ok"]
    old = tmp_path / "grpc"
    (old / "aio").mkdir(parents=True)
    (old / "__init__.py").write_text("__version__ = '1.50.2'\n")
    (old / "aio" / "__init__.py").write_text("")
    path = str(tmp_path) + ":" + environment()["PYTHONPATH"]
    probe = start("-m", "turnbuckle", "probe", PYTHONPATH=path)
    assert probe.wait() == 4
    assert json.loads(probe.lines.get(timeout=PATIENCE))["problems"] == ["grpc 1.50.2 is too old: 1.51 is the oldest that will do"]
    server = start("-m", "turnbuckle", "serve", "x", PYTHONPATH=path)
    assert server.wait() == 4 and any('"kind": "interpreter"' in line for line in server.errors)


def test_workers_die_with_a_killed_server(serve: Any) -> None:
    server = serve(PLUGIN)
    workers = server.workers()
    server.process.kill()
    server.wait()

    def gone(pid: int) -> bool:
        try:
            with open("/proc/%d/stat" % pid) as f:
                return f.read().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    until(lambda: all(gone(pid) for pid in workers), 5)
    assert os.getpid() not in workers


def test_told_twice(serve: Any) -> None:
    """Supervisors send SIGTERM to all processes of a service, some twice: what is under way ends all the same."""
    server = serve(PLUGIN)
    watch = server.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
    assert next(watch) == b"\x08\x01"
    session = server.session()
    slow = session.send(pb.Call(binding=session.bind("sleeps", config=b"1.5"), **request()))[0]
    assert header(session.call(session.bind("quick")), "X-Process")  # what was sent before has arrived
    for pid in (*server.workers(), server.process.pid):
        os.kill(pid, signal.SIGTERM)
    assert next(watch) == b"\x08\x02"
    server.process.send_signal(signal.SIGTERM)
    assert not session.wait(slow).HasField("failure")
    session.close()
    assert server.wait() == 0


def test_a_frozen_server_kills_no_worker(serve: Any) -> None:
    """Time in which the server itself stood still (SIGSTOP, a paused machine) counts against no worker."""
    server = serve(PLUGIN)
    session = server.session()
    quick = session.bind("quick")
    before = until(lambda: len(server.workers()) == 2 and server.workers())
    for signaled in ([server.process.pid], [server.process.pid, *before]):
        for pid in signaled:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(9)  # longer than a worker may be silent
        for pid in signaled:
            os.kill(pid, signal.SIGCONT)
        end = time.monotonic() + 2.5  # at least one look at the workers
        while time.monotonic() < end:
            assert not session.call(quick).HasField("failure")
        assert server.workers() == before
    assert not [line for line in server.errors if "does not answer" in line]
    session.close()


FORKS = '''
import multiprocessing, os, signal, subprocess, sys, threading, time

def double(n):
    return n * 2

def pre(x):
    pool = multiprocessing.get_context("fork").Pool(2)
    with pool:
        x.request.headers["X-Doubled"] = str(sum(pool.map(double, range(10))))
    pool.join()

def post(x):
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    process.start()
    process.terminate()
    process.join()
    x.request.headers["X-Ended"] = str(process.exitcode)

def auth(x):
    x.request.headers["X-Said"] = subprocess.run([sys.executable, "-c", "print(6 * 7)"], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    child = os.fork()
    if not child:
        os._exit(5)
    x.request.headers["X-Child"] = str(os.waitpid(child, 0)[1])
'''


@pytest.mark.parametrize("flags", [("--workers", "1"), ("--workers", "1", "--apart")], ids=["server", "worker"])
def test_hooks_that_fork(serve: Any, flags: Any) -> None:
    """Processes that hooks fork end when they are told to, and the server does not when they are."""
    server = serve(FORKS, *flags)
    session = server.session()
    pre, post, auth = session.bind("pre"), session.bind("post", phase="post"), session.bind("auth", phase="auth")
    for _ in range(3):
        assert header(session.call(post), "X-Ended") == "-15"
        assert header(session.call(pre), "X-Doubled") == "90"
        reply = session.call(auth)
        assert header(reply, "X-Said") == "42" and header(reply, "X-Child") == "1280", server.errors
    session.close()
    assert server.process.poll() is None
    assert server.stop() == 0


def test_plugin_threads_hold_no_end_up(start: Any, tmp_path: Any) -> None:
    """What a plugin has started when it cannot be loaded, or served, is no reason to stay."""
    text = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\ndef pre(x): pass\n"
    (tmp_path / "raises.py").write_text(text + "import not_there\n")
    (tmp_path / "plugin.py").write_text(text)
    raises = start("-m", "turnbuckle", "serve", str(tmp_path / "raises.py"), "--listen", "127.0.0.1:0", "--workers", "1")
    nowhere = start("-m", "turnbuckle", "serve", str(tmp_path), "--listen", "unix:%s/no/where" % tmp_path, "--workers", "1")
    until(lambda: raises.process.poll() == 3, 60)
    until(lambda: nowhere.process.poll() == 1, 60)


def test_second_interrupt_kills(serve: Any) -> None:
    lasting = "\nimport threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"
    server = serve(PLUGIN + lasting, "--workers", "1", "--linger", "60")
    session = server.session()
    session.send(pb.Call(binding=session.bind("sleeps", config=b"600"), **request()))
    session.call(session.bind("quick"))
    watch = server.channel.unary_unary("/grpc.health.v1.Health/Check")
    assert watch(b"") == b"\x08\x01"
    server.process.send_signal(signal.SIGINT)

    def refuses() -> bool:
        with grpc.insecure_channel(server.address) as channel:
            try:
                channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5)
                return False
            except grpc.RpcError:
                return True

    until(refuses)
    server.process.send_signal(signal.SIGINT)
    assert server.wait() == -signal.SIGINT


def test_a_server_that_cannot_run_hooks_ends(serve: Any) -> None:
    """Better than one that answers nobody and says that it serves."""
    text = '''
import turnbuckle.runner
def pre(x):
    def fails(*_):
        raise MemoryError()
    turnbuckle.runner.Runner._claimed = fails
'''
    for flags, status in (("--workers", "1"), 70), (("--workers", "1", "--apart"), None):
        server = serve(text, *flags)
        session = server.session()
        sent = session.send(pb.Call(binding=session.bind("pre"), **request()))
        if status is None:
            assert "worker ended" in session.wait(sent[0]).failure.message
            assert any("status 70" in line for line in until(lambda: [line for line in server.errors if "another is started" in line]))
        else:
            with pytest.raises(Exception):
                session.wait(sent[0])
            assert server.wait() == status
