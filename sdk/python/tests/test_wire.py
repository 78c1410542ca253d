"""Replies are put together by hand: what is in them is what protobuf reads in them."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from turnbuckle import wire
from turnbuckle._pb import plugin_pb2 as pb
from turnbuckle.call import Call, bind
from turnbuckle.errors import Refusal
from turnbuckle.plugin import Plugin

TEXT = ["", "a", "X-Name", "ä", "\u20ac" * 3, "\U0001f600", "q" * 127, "q" * 128, "q" * 5000, "\ud800", "nul\x00in"]
DATA = [b"", b"1", b"\x00\xff", b"v" * 127, b"v" * 128, b"v" * 4095, b"v" * 4096, b"v" * 20_000]
NUMBERS = [0, 1, 127, 128, 4095, 4096, 16_383, 16_384, 1 << 31, (1 << 32) - 1, (1 << 63) - 1]


def seen(text: str) -> str:
    """Text as it arrives: what UTF-8 does not have is a question mark."""
    return text.encode("utf-8", "replace").decode()


@pytest.mark.parametrize("n", NUMBERS + [1 << 63, (1 << 64) - 1])
def test_numbers(n: int) -> None:
    assert pb.Reply.FromString(b"\x08" + wire.number(n)).id == n
    for signed in (n, -n, -n - 1):
        if -(1 << 63) <= signed < 1 << 63:
            assert pb.Counter.FromString(b"\x18" + wire.signed(signed)).delta == signed


def test_parts() -> None:
    for name in TEXT:
        for data in DATA:
            op = pb.Effects.FromString(wire.header_op(b"\x22", 2, name, data)).headers[0]
            assert (op.kind, op.name, op.value) == (2, seen(name), data)
            value = pb.Value.FromString(wire.value(name, data))
            assert value.name == seen(name) and value.HasField("data") and value.data == data
            answer = pb.Response.FromString(wire.response(299, [(name, data), ("b", b"")], data))
            assert answer.status == 299 and answer.HasField("body") and answer.body == data and answer.length == len(data)
            assert [(h.name, h.value) for h in answer.headers] == [(seen(name), data), ("b", b"")]
            error = pb.Error.FromString(wire.error(418, name, [("n", data)]))
            assert (error.status, error.message, error.headers[0].value) == (418, seen(name), data)
        assert not pb.Value.FromString(wire.value(name, None)).HasField("data")
        line = pb.LogLine.FromString(wire.log_line(3, -4, name))
        assert (line.hook, line.level, line.message) == (3, -4, seen(name))
        failed = pb.Reply.FromString(wire.failed(77, 6, name))
        assert (failed.id, failed.failure.code, failed.failure.message) == (77, 6, seen(name))
        frame = pb.PluginFrame.FromString(wire.replies([wire.failed(n, 1, name) for n in NUMBERS]))
        assert [r.id for r in frame.replies] == NUMBERS
    for hook in (0, 1, 255):
        for took in (0.0, 1e-6, 0.004095, 0.004096, 3.0, 86_400.0):
            outcome = pb.Reply.FromString(wire.outcome(hook, took, 2047)).outcomes[0]
            assert (outcome.hook, outcome.duration_us, outcome.changed) == (hook, int(took * 1e6), 2047)


def test_whatever_hooks_do() -> None:
    """Hooks that do what comes to their mind: the reply says just that."""
    for seed in range(400):
        r = random.Random(seed)
        done: dict = {"set": [], "values": {}, "logs": [], "counts": {}}

        def hook(x: Any, r: random.Random = r, done: dict = done) -> None:
            for _ in range(r.randrange(4)):
                name, value = "X-%d" % r.randrange(3), r.choice(["", "1", "ä", "y" * r.randrange(300)])
                kind = r.randrange(3)
                [x.request.headers.set, x.request.headers.add, lambda n, _: x.request.headers.delete(n)][kind](name, value)
                done["set"].append((kind + 1, name, b"" if kind == 2 else value.encode()))
            if r.random() < 0.3:
                x.request.body = done["body"] = r.choice(DATA)
            if r.random() < 0.3:
                x.request.path = "/" + "p" * r.randrange(200)
                done["path"] = x.request.path.encode()
            if r.random() < 0.3:
                x.request.query.set("q", r.choice(["", "1", "a b"]))
                done["query"] = x.request.query.raw.encode()
            for _ in range(r.randrange(3)):
                name = r.choice(TEXT)
                data = r.choice([None, *DATA])
                x.set_raw_value(name, data)
                done["values"][name] = data
            if r.random() < 0.2:
                x.authenticate("key", "alias")
                done["session"] = ("key", "alias")
            for _ in range(r.randrange(3)):
                level, text = r.choice([("debug", -4), ("info", 0), ("error", 8)]), r.choice(TEXT)
                x.log(level[0], text)
                done["logs"].append((level[1], seen(text)[:4096]))  # a line is cut there
            if r.random() < 0.3:
                n = r.choice([-1, 1, 1 << 70, -(1 << 70)])
                x.count("c", n)
                done["counts"]["c"] = max(-(1 << 63), min(n, (1 << 63) - 1))
            if r.random() < 0.2:
                x.answer(200 + r.randrange(400), [("A", "1"), ("A", "2")], r.choice(DATA))
                done["answer"] = (x.response.status, x.response.body)
            if r.random() < 0.1:
                done["refused"] = r.choice(TEXT)
                raise Refusal(403, done["refused"], {"R": "1"})

        plugin = Plugin()
        plugin.add(hook, "hook", "pre")
        binding = pb.Binding(id=1, phase=1)
        binding.hooks.add(name="hook")
        call = Call(None, bind(plugin, binding), pb.Call(id=r.choice(NUMBERS), query=b"z=1"), time.monotonic())
        call.run(call.next())  # type: ignore[arg-type]
        check(pb.Reply.FromString(call.serialized()), done, call.id)


def check(reply: Any, done: dict, id: int) -> None:
    assert reply.id == id and len(reply.outcomes) == 1
    assert [(line.level, line.message) for line in reply.logs] == done["logs"]
    assert {c.name: c.delta for c in reply.counters} == done["counts"]
    e = reply.effects
    if "refused" in done:
        assert (reply.error.status, reply.error.message) == (403, seen(done["refused"]))
        assert [(h.name, h.value) for h in reply.error.headers] == [("R", b"1")]
        assert not reply.HasField("effects") and not reply.outcomes[0].changed
        return
    assert not reply.HasField("error") and not reply.HasField("failure")
    assert [(op.kind, op.name, op.value) for op in e.headers] == done["set"]
    for field in ("body", "path", "query"):
        assert e.HasField(field) == (field in done)
        assert not e.HasField(field) or getattr(e, field) == done[field]
    want = {seen(name): data for name, data in done["values"].items()}
    assert {v.name: v.data if v.HasField("data") else None for v in e.values} == want
    assert e.HasField("session") == ("session" in done) and ("session" not in done or (e.session.key_id, e.session.alias) == done["session"])
    assert e.HasField("answer") == ("answer" in done)
    if "answer" in done:
        assert (e.answer.status, e.answer.body) == done["answer"] and [h.value for h in e.answer.headers] == [b"1", b"2"]
