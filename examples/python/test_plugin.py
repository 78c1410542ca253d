"""What the hooks do, tested with no gateway."""

import plugin
from turnbuckle.testing import Reply, run

KEYS = {"keys": {"open-sesame": "ali"}}


def test_welcome():
    got = run(plugin, "Welcome", path="/python/x", headers={"X-Remove": "me"})
    assert got.request.headers["X-Greeting"] == "hello localhost"
    assert "X-Remove" not in got.request.headers
    assert got.counters == {"welcomed": 1}
    got = run(plugin, "Welcome", path="/python/teapot")
    assert (got.outcome, got.reply.status, got.reply.headers.get_all("X-Pot")) == ("answered", 418, ["1", "2"])
    assert run(plugin, "Welcome", path="/python/broken").outcome == "failed"


def test_wait():
    assert run(plugin, "Wait", headers={"X-Wait": "1"}).outcome == "ok"


def test_check_key():
    got = run(plugin, "CheckKey", headers={"Authorization": "open-sesame"}, config=KEYS)
    assert (got.session.key_id, got.session.alias) == ("open-sesame", "ali")
    assert run(plugin, "CheckKey", headers={"Authorization": "guess"}, config=KEYS).error.status == 403
    assert run(plugin, "CheckKey", config=KEYS).session is None


def test_tell():
    session = {"alias": "ali", "meta_data": {"plan": "gold"}}
    got = run(plugin, "Tell", path="/python/old/x?a=1", session=session, headers={"X-Edit": "append"}, body="body")
    assert (got.request.target, got.request.body) == ("/python/new/x?a=1&b=2", b"body+python")
    assert got.request.headers["X-Alias"] == "ali"


def test_sign():
    got = run(plugin, "Sign", method="PUT", reply=Reply(200, {"Content-Type": "text/plain", "X-Internal": "1"}, "plain\n"))
    assert (got.reply.status, got.reply.text(), got.reply.headers.get_all("x-signed")) == (201, "plain\nsigned\n", ["one", "two"])
    assert not got.reply.headers.has("X-Internal")
