"""Plugins written for Tyk: what they import, how they are found, and their hooks in both protocols."""

from __future__ import annotations

import json
import sys
from typing import Any, Dict

import grpc
import pytest
from conftest import Server, until
from turnbuckle._pb import coprocess_object_pb2 as tyk
from turnbuckle._pb import plugin_pb2 as pb
from turnbuckle.errors import LoadError

HOOKS = '''
from tyk.decorators import *
from tyk.session import TykSession, AccessSpec, AccessDefinition, BasicAuthData, JWTData, Monitor
from tyk.request import TykCoProcessRequest
from tyk.object import TykCoProcessObject
from gateway import TykGateway as tyk
import coprocess_object_pb2, coprocess_session_state_pb2, coprocess_common_pb2, coprocess_return_overrides_pb2
import coprocess_mini_request_object_pb2, coprocess_response_object_pb2
import json


@Hook
def Three(request, session, spec):
    assert isinstance(request, TykCoProcessRequest) and isinstance(session, TykSession)
    assert isinstance(request.object, coprocess_mini_request_object_pb2.MiniRequestObject)
    assert request.get_header("x-in") is None and request.object.return_overrides.response_code == -1
    request.add_header("x-seen", json.dumps([request.get_header("X-In"), request.get_header("Host"), spec["APIID"], spec["OrgID"], json.loads(spec["config_data"])["k"],
                                             request.object.url, request.object.params["q"], request.object.method, request.object.body]))
    request.delete_header("X-Gone")
    request.add_param("p", "1 2")
    request.delete_param("q")
    return request, session


@Pre
def Four(request, session, metadata, spec):
    if request.get_header("Authorization") != "sesame":
        request.object.return_overrides.response_code = 401
        request.object.return_overrides.response_error = "Not \\u00e4uthorised"
        request.object.return_overrides.headers["X-Why"] = "key"
        return request, session, metadata
    session.rate, session.per = 10.0, 1.0
    session.access_rights["api"].api_id = "api"
    metadata["token"] = "sesame"
    return request, session, metadata


@CustomKeyCheck
def OtherMapping(request, session, metadata, spec):
    session.alias = "ali"
    return request, session, {"token": "other"}


@Hook
def Five(request, response, session, metadata, spec):
    response.multivalue_headers.add(key="X-New", values=["a", "b"])
    response.raw_body = response.raw_body.upper()
    response.status_code = 202
    return response


@Hook
def FiveMap(request, response, session, metadata, spec):
    response.headers["x-one"] = "new"
    del response.headers["X-Two"]
    return response


@Hook
def Answer(request, session, spec):
    o = request.object.return_overrides
    o.response_code, o.response_body, o.override_error = 404, "<gone/>", True
    o.headers["Content-Type"] = "text/xml"
    return request, session


@Hook
def Rebinds(request, session, spec):
    session = TykSession(alias="lost")
    request.object.body = "no effect"
    return TykCoProcessRequest(coprocess_mini_request_object_pb2.MiniRequestObject(method="PUT")), session


@Hook
def Rewrites(request, session, spec):
    request.object.url = "/new/path?lost=1"
    request.object.method = "POST"
    request.object.raw_body = b"\\xff\\x00"
    return request, session


@Hook
def Logs(request, session, spec):
    tyk.log("a line", "warning")
    tyk.log_error("an error")
    return request, session


@Hook
async def Waits(request, session, spec):
    import asyncio
    await asyncio.sleep(0.01)
    tyk.log("waited", "info")
    request.add_header("X-Waited", "yes")
    return request, session


@Hook
def Two(request, session):
    return request, session


def NoHook(request, session, spec):
    return request, session
'''


def obj(hook: str, type: int = 1, **parts: Any) -> Any:
    o = tyk.Object(hook_type=type, hook_name=hook, spec={"APIID": "api", "OrgID": "org", "config_data": '{"k": "v"}'})
    o.request.return_overrides.response_code = -1
    for name, value in parts.items():
        if isinstance(value, dict):
            getattr(o.request, name).update(value)
        else:
            setattr(o.request, name, value)
    return o


CALL: Dict[str, Any] = dict(path=b"/api/x", query=b"q=%C3%A4&r=2", body=b"text", headers=[
    pb.Field(name="x-in", value=b"1"), pb.Field(name="X-In", value=b"2"), pb.Field(name="X-Gone", value=b"3")])


@pytest.fixture(scope="module")
def server(tmp_path_factory: Any) -> Any:
    folder = tmp_path_factory.mktemp("tyk") / "folder"
    folder.mkdir()
    (folder / "middleware.py").write_text(HOOKS)
    server = Server("-m", "turnbuckle", "tyk", "--folder", str(folder), "--native", "--listen", "127.0.0.1:0", "--workers", "1", "--linger", "0").ready()
    yield server
    server.stop()


@pytest.fixture
def session(server: Any) -> Any:
    session = server.session()
    yield session
    session.close()


def ops(reply: Any, field: str = "headers") -> list:
    return [(pb.HeaderOpKind.Name(op.kind)[15:], op.name, op.value.decode()) for op in getattr(reply.effects, field)]


def bind(session: Any, *names: str, phase: str = "pre") -> int:
    return session.bind(*names, phase=phase, config=b'{"k": "v"}', id="api", org="org")


def test_describes_itself(server: Any) -> None:
    found = server.describe()
    assert found.name == "folder"
    assert {(h.name, h.phase) for h in found.hooks} >= {("Three", 0), ("Four", 0), ("Five", 0), ("Waits", 0)}
    assert "NoHook" not in {h.name for h in found.hooks}


def test_both_protocols(server: Any, session: Any) -> None:
    seen = json.dumps(["1", "localhost", "api", "org", "v", "/api/x?q=%C3%A4&r=2", "\u00e4", "GET", "text"])
    o = obj("Three", headers={"X-In": "1", "X-Gone": "3", "Host": "localhost"}, url="/api/x?q=%C3%A4&r=2", params={"q": "\u00e4"}, method="GET", body="text", raw_body=b"text")
    got = server.dispatch(o).request
    assert (dict(got.set_headers), list(got.delete_headers), dict(got.add_params), list(got.delete_params)) == ({"x-seen": seen}, ["X-Gone"], {"p": "1 2"}, ["q"])
    reply = session.call(bind(session, "Three"), **CALL)
    assert not reply.HasField("failure"), reply.failure.message
    assert ops(reply) == [("DEL", "X-Gone", ""), ("SET", "X-Seen", seen)]
    assert (reply.effects.query, reply.effects.HasField("path"), reply.effects.HasField("body")) == (b"p=1+2&r=2", False, False)


def test_hooks_of_one_call_see_each_other(session: Any) -> None:
    reply = session.call(bind(session, "Rewrites", "Three"), **{**CALL, "body": b"text"})
    seen = json.loads(ops(reply)[-1][2])
    assert seen[5:] == ["/new/path?q=%C3%A4&r=2", "\u00e4", "POST", ""]
    assert (reply.effects.path, reply.effects.method, reply.effects.body) == (b"/new/path", b"POST", b"\xff\x00")


def test_auth(server: Any, session: Any) -> None:
    refused = server.dispatch(obj("Four", 4)).request.return_overrides
    assert (refused.response_code, refused.response_error) == (401, "Not \u00e4uthorised")
    good = server.dispatch(obj("Four", 4, headers={"Authorization": "sesame"}))
    assert (good.session.rate, good.session.metadata["token"]) == (10.0, "sesame")
    number = bind(session, "Four", phase="auth")
    reply = session.call(number)
    assert (reply.error.status, reply.error.message, reply.error.headers[0].name) == (401, "Not \u00e4uthorised", "X-Why")
    reply = session.call(number, headers=[pb.Field(name="authorization", value=b"sesame")])
    s = reply.effects.session
    assert (s.key_id, s.org_id, s.rate, s.access_rights["api"].api_id, s.metadata["token"]) == ("sesame", "org", 10.0, "api", "sesame")


def test_metadata_that_is_returned(server: Any, session: Any) -> None:
    assert server.dispatch(obj("OtherMapping", 4)).session.metadata["token"] == "other"
    reply = session.call(bind(session, "OtherMapping", phase="auth"))
    assert (reply.effects.session.key_id, reply.effects.session.alias) == ("other", "ali")


def test_no_token_is_nobody(session: Any) -> None:
    assert session.call(bind(session, "Logs", phase="auth")).effects.clear_session


def test_session_is_seen_after_auth(session: Any) -> None:
    from turnbuckle._pb import session_pb2

    reply = session.call(bind(session, "Four", phase="post"), headers=[pb.Field(name="Authorization", value=b"sesame")], session=session_pb2.Session(alias="a"))
    assert not reply.HasField("failure") and not reply.effects.HasField("session")


def test_response(server: Any, session: Any) -> None:
    lines = [pb.Field(name="X-One", value=b"1"), pb.Field(name="X-Two", value=b"2"), pb.Field(name="x-one", value=b"3")]
    call = dict(response=pb.Response(status=200, headers=lines, body=b"body"))
    reply = session.call(bind(session, "Five", phase="response"), **call)
    assert not reply.HasField("failure"), reply.failure.message
    assert ops(reply, "response_headers") == [("SET", "X-New", "a"), ("ADD", "X-New", "b")]
    assert (reply.effects.status, reply.effects.response_body) == (202, b"BODY")
    reply = session.call(bind(session, "FiveMap", phase="response"), **call)
    # The map wins: of X-One, which it spells in another way, and X-Two, which it lacks.
    assert sorted(ops(reply, "response_headers")) == [("ADD", "X-One", "3"), ("ADD", "X-One", "new"), ("DEL", "X-Two", ""), ("SET", "X-One", "1")] or \
        ops(reply, "response_headers") == [("SET", "X-One", "1"), ("ADD", "X-One", "3"), ("ADD", "X-One", "new"), ("DEL", "X-Two", "")]
    o = obj("Five", 5)
    o.response.status_code, o.response.raw_body = 200, b"body"
    got = server.dispatch(o).response
    assert (got.status_code, got.raw_body, got.multivalue_headers[0].key) == (202, b"BODY", "X-New")


def test_answers(session: Any) -> None:
    answer = session.call(bind(session, "Answer")).effects.answer
    assert (answer.status, answer.body, [(h.name, h.value) for h in answer.headers]) == (404, b"<gone/>", [("Content-Type", b"text/xml")])


def test_only_edits_count(session: Any) -> None:
    reply = session.call(bind(session, "Rebinds"), **CALL)
    assert reply.effects.ByteSize() == 0 and not reply.HasField("failure")


def test_logs_travel(session: Any, server: Any) -> None:
    reply = session.call(bind(session, "Logs"))
    assert [(line.level, line.message) for line in reply.logs] == [(4, "a line"), (8, "an error")]
    server.dispatch(obj("Logs"))
    until(lambda: "WARNING turnbuckle: Logs: a line" in server.errors)


def test_async(session: Any, server: Any) -> None:
    reply = session.call(bind(session, "Waits"))
    assert ops(reply) == [("SET", "X-Waited", "yes")] and reply.logs[0].message == "waited"
    assert dict(server.dispatch(obj("Waits")).request.set_headers) == {"X-Waited": "yes"}


def test_failures(session: Any, server: Any) -> None:
    assert session.call(bind(session, "Two")).failure.code == pb.FAILURE_CODE_FAILED
    assert session.call(bind(session, "NoHook")).failure.code == pb.FAILURE_CODE_UNIMPLEMENTED
    for name, code in (("Two", grpc.StatusCode.INTERNAL), ("NoHook", grpc.StatusCode.UNIMPLEMENTED)):
        with pytest.raises(grpc.RpcError) as e:
            server.dispatch(obj(name))
        assert e.value.code() == code
    assert any("hook Two has 2 parameters" in line for line in server.errors)


ONE = "from tyk.decorators import Hook\n@Hook\ndef One(request, session, spec):\n    import lazy\n    request.add_header('X-One', lazy.value)\n    return request, session\n"
TWO = "from tyk.decorators import *\nimport one\n@Hook\ndef Two(request, session, spec):\n    from vendored import value\n    return one.One(request, session, spec)\n"
LAYOUTS: Dict[str, Any] = {
    "several files": ({"one.py": ONE, "two.py": TWO, "lazy.py": "value = 'lazy'\n", "vendor/vendored.py": "value = 1\n"}, [], {"One", "Two"}),
    "manifest": ({"one.py": ONE, "lazy.py": "value = 'lazy'\n", "broken.py": "import nothing\n", "manifest.json": '{"file_list": ["one.py", "lazy.py"]}'}, [], {"One"}),
    "middleware first": ({"middleware.py": ONE, "lazy.py": "value = 'lazy'\n", "broken.py": "import nothing\n"}, [], {"One"}),
    "path": ({"one.py": ONE, "lazy.py": "value = 'lazy'\n", "broken.py": "import nothing\n"}, ["--path", "one.py"], {"One"}),
    "path of a folder": ({"sub/one.py": ONE, "sub/lazy.py": "value = 'lazy'\n", "broken.py": "import nothing\n"}, ["--path", "sub"], {"One"}),
    "old messages beside it": ({"one.py": "import coprocess_object_pb2\nfrom tyk.session import *\n" + ONE, "lazy.py": "value = 'lazy'\n", "tyk/session.py": "1 / 0\n",
                                "coprocess_object_pb2.py": "1 / 0\n", "manifest.json": '{"file_list": ["one.py"]}'}, [], {"One"}),
    "a name that is taken": ({"json.py": ONE, "lazy.py": "value = 'lazy'\n"}, ["--path", "json.py"], {"One"}),
    "grpc stubs": ({"one.py": "from coprocess_object_pb2_grpc import DispatcherServicer\nimport coprocess_common_pb2_grpc\n" + ONE, "lazy.py": "value = 'lazy'\n"}, [], {"One"}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tyk_folder: Any, layout: str) -> None:
    files, flags, hooks = LAYOUTS[layout]
    server = tyk_folder(files, *flags)
    assert {h.name for h in server.describe().hooks} == hooks
    for hook in hooks:
        assert dict(server.dispatch(obj(hook)).request.set_headers) == {"X-One": "lazy"}


@pytest.mark.parametrize("files, flags, message", [
    ({"middleware.py": "x = 1\n"}, [], "there are no hooks in middleware.py"),
    ({"notes.txt": ""}, [], "there are no Python files in it"),
    ({"middleware.py": ONE}, ["--path", "nothing.py"], "there is no such file"),
    ({"middleware.py": ONE, "manifest.json": '{"file_list": ["gone.py"]}'}, [], "the manifest lists it"),
    ({"middleware.py": ONE, "manifest.json": '{'}, [], "the manifest cannot be read"),
    ({"middleware.py": "import requests_that_is_not_there\n"}, [], "there is no module 'requests_that_is_not_there'"),
])
def test_what_cannot_be_loaded(tmp_path: Any, monkeypatch: Any, files: Any, flags: Any, message: str) -> None:
    from turnbuckle.tyk.load import load

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(LoadError, match=message):
        load(str(tmp_path), flags[1:])
    for name in ("middleware", "lazy"):
        sys.modules.pop(name, None)


EVENTS = '''
from tyk.decorators import *
from gateway import TykGateway as tyk

@Event
def Told(event, spec):
    tyk.log("%s %s %s" % (event["type"], event["message"], spec["APIID"]), "info")

@Hook
def One(request, session, spec):
    return request, session
'''


def test_events(tyk_folder: Any) -> None:
    server = tyk_folder({"middleware.py": EVENTS})
    payload = json.dumps({"message": {"Type": "AuthFailure", "Meta": {"Message": "no key"}}, "handler_name": "Told", "spec": {"APIID": "api"}})
    call = server.channel.unary_unary("/coprocess.Dispatcher/DispatchEvent", tyk.Event.SerializeToString, tyk.EventReply.FromString)
    call(tyk.Event(payload=payload), timeout=10)
    server.stop()
    assert "INFO tyk: AuthFailure no key api" in server.errors


def test_tyk_alone_without_the_flag(start: Any, tmp_path: Any) -> None:
    (tmp_path / "middleware.py").write_text(ONE)
    server = start("-m", "turnbuckle", "tyk", "--folder", str(tmp_path), "--listen", "127.0.0.1:0", "--workers", "1").ready()
    with pytest.raises(grpc.RpcError) as e:
        server.describe()
    assert e.value.code() == grpc.StatusCode.UNIMPLEMENTED
