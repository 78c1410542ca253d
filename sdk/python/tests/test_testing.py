"""turnbuckle.testing, and with it what hooks can do with an exchange."""

import asyncio
import types

import pytest
import turnbuckle
from turnbuckle.testing import Reply, run

plugin = turnbuckle.Plugin("p", "1")


@plugin.hook("pre", needs=["headers", "query"], headers=["X-One"])
def change(x: turnbuckle.Exchange) -> None:
    assert x.request.headers.entries() == [("x-one", "1"), ("X-One", "2")]
    x.request.headers["X-One"] = ["3", "4"]
    x.request.headers.add("X-Two", b"\xff")
    x.request.query.set("q", "a b")
    x.request.method, x.request.path = "PUT", "/new"
    x.request.body = "text"
    x.set_value("n", {"a": 1})
    x.log("warn", "careful")
    x.count("seen", 2)


@plugin.hook(phase="response", needs=["response_headers", "response_body"])
async def stamp(x: turnbuckle.Exchange) -> None:
    await asyncio.sleep(0)
    x.response.status = 201
    x.response.headers["X-Stamp"] = "yes"
    x.response.body = x.response.body.upper()


@plugin.hook
def end(x: turnbuckle.Exchange) -> None:
    x.request.headers["X-Lost"] = "1"
    how = x.config["how"]
    if how == "answer":
        x.answer(418, {"X-Kind": "tea"}, "pot")
    elif how == "refuse":
        x.refuse(403, "closed", {"X-Why": "late"})
    elif how == "exit":
        raise SystemExit(3)
    elif how == "split":
        x.request.headers["X-Bad"] = "a\r\nb"
    elif how == "status":
        x.answer(99)
    elif how == "body":
        x.request.body.upper()


def test_changes() -> None:
    got = run(plugin, "change", path="/old?q=1&r=%7e", headers=[("x-one", "1"), ("X-One", "2"), ("Other", "5")])
    assert (got.outcome, got.error, got.exception) == ("ok", None, None)
    assert (got.request.method, got.request.target, got.request.text()) == ("PUT", "/new?q=a+b&r=%7e", "text")
    assert got.request.headers.entries() == [("X-One", "3"), ("X-One", "4"), ("X-Two", "\udcff")]
    assert (got.values, got.logs, got.counters) == ({"n": {"a": 1}}, [("warn", "careful")], {"seen": 2})


def test_response() -> None:
    got = run(plugin, "stamp", reply=Reply(200, {"A": "b"}, "text"))
    assert (got.reply.status, got.reply.body, got.reply.headers.entries()) == (201, b"TEXT", [("A", "b"), ("X-Stamp", "yes")])


def test_ends() -> None:
    got = run(plugin, "end", config={"how": "answer"})
    assert (got.outcome, got.reply.status, got.reply.headers.get("x-kind"), got.reply.text()) == ("answered", 418, "tea", "pot")
    got = run(plugin, "end", config={"how": "refuse"})
    assert got.error is not None
    assert (got.outcome, got.error.status, got.error.message, got.error.headers.get("x-why")) == ("refused", 403, "closed", "late")
    assert not got.request.headers.has("X-Lost")


@pytest.mark.parametrize("how, kind", [("exit", SystemExit), ("split", turnbuckle.ProtocolError), ("status", turnbuckle.ProtocolError), ("body", turnbuckle.NotAskedFor)])
def test_failures(how: str, kind: type) -> None:
    got = run(plugin, "end", config={"how": how})
    assert got.outcome == "failed" and isinstance(got.exception, kind) and not got.request.headers.has("X-Lost")


def test_identity() -> None:
    def auth(x: turnbuckle.Exchange) -> None:
        assert x.session is not None and x.session.tags == ["old"]
        x.set_session(turnbuckle.Session(key_id="k", meta_data={"a": "b"}, access_rights={"api": turnbuckle.AccessDefinition(api_id="api")}))

    module = types.ModuleType("m")
    module.auth = auth  # type: ignore[attr-defined]
    got = run(module, "auth", session={"tags": ["old"]})
    assert got.session is not None
    assert (got.session.key_id, got.session.meta_data, got.session.access_rights["api"].api_id) == ("k", {"a": "b"}, "api")


def test_unknown_hook() -> None:
    with pytest.raises(turnbuckle.LoadError, match="no hook 'nothing'"):
        run(plugin, "nothing")
