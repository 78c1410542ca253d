"""The runner by itself, without gRPC: what hooks do that nothing should suffer from, and what leaves as replies."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from queue import SimpleQueue
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest
from conftest import PATIENCE, request, until
from google.protobuf.message import DecodeError
from turnbuckle import Plugin, Refusal, framing
from turnbuckle._pb import coprocess_object_pb2 as tyk
from turnbuckle._pb import plugin_pb2 as pb
from turnbuckle.call import FRAME_BYTES
from turnbuckle.runner import Runner


class Host:
    """The source and the sink of a runner."""

    def __init__(self, plugin: Plugin, threads: int = 64) -> None:
        self._work: "SimpleQueue[Any]" = SimpleQueue()
        self._some = threading.Condition()
        self.answers: Dict[int, List[Any]] = {}
        self.results: Dict[int, Tuple[int, bytes]] = {}
        self.frames: List[bytes] = []
        self._seq = 0
        self.runner = Runner(plugin, self, self, threads)
        self.runner.start()

    def take(self) -> Any:
        return self._work.get()

    def give(self, what: Callable[..., None], *arguments: Any) -> None:
        self._work.put([(what, arguments)])

    def replies(self, stream: int, seq: int, seconds: float, ids: Any, data: bytes, late: bool) -> None:
        with self._some:
            if data:
                self.frames.append(data)
            for reply in pb.PluginFrame.FromString(data).replies:
                self.answers.setdefault(reply.id, []).append(reply)
            self._some.notify_all()

    def result(self, number: int, status: int, data: bytes) -> None:
        with self._some:
            self.results[number] = status, data
            self._some.notify_all()

    def closed(self, stream: int) -> None:
        pass

    def broken(self, stream: int) -> None:
        pass

    def send(self, *calls: Any, hooks: Tuple[str, ...] = ("hook",), **parts: Any) -> None:
        """Sends a frame with calls of hooks."""
        self._seq += 1
        binding = pb.Binding(id=self._seq, phase=pb.PHASE_PRE, hooks=[pb.HookUse(name=name) for name in hooks])
        for call in calls:
            call.binding = self._seq
        frame = pb.HostFrame(seq=self._seq, bindings=[binding], calls=calls, **parts)
        self.give(Runner.frame, 1, 0, time.monotonic(), frame.SerializeToString())

    def wait(self, id: int, patience: float = 10) -> Any:
        """Waits for the reply to a call."""
        with self._some:
            assert self._some.wait_for(lambda: id in self.answers, patience), "call %d is not answered" % id
            return self.answers[id][-1]

    def wait_result(self, number: int, patience: float = 10) -> Tuple[int, bytes]:
        """Waits for the end of a call of Tyk's protocol."""
        with self._some:
            assert self._some.wait_for(lambda: number in self.results, patience), "call %d is not answered" % number
            return self.results[number]

    def dispatch(self, number: int, due: float = 0.0, name: str = "hook") -> None:
        """Makes a call of Tyk's protocol."""
        self.give(Runner.dispatch, number, due, tyk.Object(hook_type=1, hook_name=name).SerializeToString())

    def call(self, id: int, *hooks: str, **fields: Any) -> Any:
        """Makes a call and waits for its reply."""
        self.send(pb.Call(id=id, **request(**fields)), hooks=hooks or ("hook",))
        return self.wait(id)


@pytest.fixture
def run() -> Iterator[Callable[..., Host]]:
    """Runs functions as hooks of these names."""
    hosts: List[Host] = []

    def run(threads: int = 64, **hooks: Any) -> Host:
        plugin = Plugin("p", "1")
        for name, function in hooks.items():
            plugin.add(function, name)
        hosts.append(Host(plugin, threads))
        return hosts[-1]

    yield run
    for host in hosts:
        host.give(Runner.stop)


class Mute(Exception):
    """Cannot be described."""

    def __str__(self) -> str:
        raise SystemExit(9)


class Bare(Refusal):
    """Has nothing of a Refusal."""

    def __init__(self) -> None:
        pass


def _mute(x: Any) -> None:
    raise Mute()


def _bare(x: Any) -> None:
    raise Bare()


def _bent(x: Any) -> None:
    try:
        x.refuse(403, "no")
    except Refusal as e:
        e.status = "four hundred"  # type: ignore[assignment]
        raise


def _odd_refusal(x: Any) -> None:
    x.refuse(403.5, "no")


def _refusal_of_an_error(x: Any) -> None:
    x.refuse(403, ValueError("closed"))


def _odd_counter(x: Any) -> None:
    x.count(5)


def _odd_line(x: Any) -> None:
    class Odd:
        def __str__(self) -> str:
            raise KeyboardInterrupt

    x.log("info", Odd())


class Awaitable:
    """Turns out to be none."""

    def __await__(self) -> Any:
        return 5


def _odd_awaitable(x: Any) -> Any:
    return Awaitable()


ODD = [_mute, _bare, _bent, _odd_refusal, _refusal_of_an_error, _odd_counter, _odd_line, _odd_awaitable]


@pytest.mark.parametrize("hook", ODD, ids=lambda f: str(f.__name__))
@pytest.mark.parametrize("way", ["leading", "thread", "loop"])
def test_odd_hooks_end_their_call_only(run: Any, hook: Any, way: str) -> None:
    async def waits(x: Any) -> None:
        result = hook(x)
        if result is not None:
            await result

    host = run(hook=waits if way == "loop" else hook, quick=lambda x: x.request.headers.set("A", "b"))
    for known in host.runner._plugin.hooks.values():
        known.threaded = way == "thread" and known.name == "hook"
    reply = host.call(1)
    if hook is _refusal_of_an_error:
        assert reply.error.status == 403 and reply.error.message == "closed"
    elif hook is _odd_counter:
        assert [(c.name, c.delta) for c in reply.counters] == [("5", 1)]
    else:
        assert reply.HasField("failure"), reply
    assert host.call(2, "quick").effects.headers[0].value == b"b"
    assert len(host.answers[1]) == 1
    host.dispatch(1)
    status, _ = host.wait_result(1)
    assert (status == 0) == (hook in (_refusal_of_an_error, _odd_counter))


def test_a_loop_that_hooks_stop(run: Any) -> None:
    """Whatever a hook does to the loop of async hooks: others go on."""

    async def stops(x: Any) -> None:
        asyncio.get_running_loop().stop()

    async def leaves(x: Any) -> None:
        async def ends() -> None:
            raise SystemExit(3)

        asyncio.ensure_future(ends())

    async def hook(x: Any) -> None:
        await asyncio.sleep(0.01)

    host = run(hook=hook, stops=stops, leaves=leaves)
    for n, name in enumerate(("stops", "hook", "leaves", "hook", "hook")):
        assert not host.call(n + 1, name).HasField("failure")


def test_replies_fit_into_messages(run: Any) -> None:
    """No gRPC peer takes more than 4 MiB as long as nobody tells it to."""

    def hook(x: Any) -> None:
        x.request.body = bytes(x.request.length)

    host = run(hook=hook)
    sizes = [900_000, FRAME_BYTES - 2_000, 200_000, 1_000_000, 1, FRAME_BYTES - 2_000]
    host.send(*[pb.Call(id=n, **request(length=size)) for n, size in enumerate(sizes)])
    for n, size in enumerate(sizes):
        assert len(host.wait(n).effects.body) == size
    assert max(map(len, host.frames)) <= FRAME_BYTES


def test_calls_that_were_cancelled_are_not_kept(run: Any) -> None:
    seen = []

    async def hook(x: Any) -> None:
        await asyncio.sleep(PATIENCE)

    def quick(x: Any) -> None:
        seen.append(1)

    host = run(hook=hook, quick=quick)
    for n in range(200):
        host.send(pb.Call(id=n, **request()), cancels=[])
        host.give(Runner.cancel, 1, [n])
    for n in range(200):
        assert host.wait(n).failure.code == pb.FAILURE_CODE_CANCELED
    assert not host.call(1000, "quick").HasField("failure") and seen
    until(lambda: not host.runner._leader.loop._tasks, 10)


@pytest.mark.parametrize("way", ["leading", "thread", "loop"])
def test_refusals_leave_nothing_to_the_collector(run: Any, way: str) -> None:
    class Kept:
        pass

    kept: List[Any] = []

    def hook(x: Any) -> None:
        mine = Kept()
        kept.append(weakref.ref(mine))
        x.refuse(403, "no")

    async def waits(x: Any) -> None:
        hook(x)

    host = run(hook=waits if way == "loop" else hook)
    host.runner._plugin.hooks["hook", 0].threaded = way == "thread"
    gc.collect()
    gc.disable()
    try:
        for n in range(20):
            host.call(n)
        until(lambda: sum(ref() is not None for ref in kept) <= 1, 5)
    finally:
        gc.enable()


@pytest.mark.parametrize("threads", [0, 1])
def test_deadlines_pass_while_calls_wait(run: Any, threads: int) -> None:
    """What nobody waits for any more is not run."""
    ran: List[int] = []
    free = threading.Event()

    def hook(x: Any) -> None:
        ran.append(1)

    def holds(x: Any) -> None:
        free.wait(PATIENCE)

    host = run(threads=max(threads, 1), hook=hook, holds=holds)
    if threads:
        for known in host.runner._plugin.hooks.values():
            known.threaded = True
        host.send(pb.Call(id=1, **request()), hooks=("holds",))
        host.send(pb.Call(id=2, timeout_us=20_000, **request()))
        host.dispatch(2, time.monotonic() + 0.02)
        time.sleep(0.1)
        free.set()
        assert host.wait(2).failure.code == pb.FAILURE_CODE_TIMEOUT
    else:
        host.dispatch(2, time.monotonic() - 0.02)
    assert host.wait_result(2)[0] == 4
    assert not ran


@pytest.mark.parametrize("data", [b"\x22\x0b", b"\x22\x02", b"\x12\x0b", b"\x08\x01\x22\x0b", b"\x22\x0c\x80", b"\x00", b"\x20"])
def test_frames_that_end_in_the_middle(data: bytes) -> None:
    """Also for decoders that take them for whole, and with something at their end that looks like the rest of them."""
    with pytest.raises(DecodeError):
        framing.decode(pb.HostFrame, data)
    assert framing.decode(pb.HostFrame, pb.HostFrame(cancels=[1, (1 << 64) - 1]).SerializeToString()).cancels == [1, (1 << 64) - 1]
