"""Hooks in all phases and an observer, on the Python SDK: sdk/python. test_plugin.py tests them with no gateway."""

import asyncio
import sys

import turnbuckle

version = "1.0.0"
config_schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"keys": {"type": "object", "additionalProperties": {"type": "string"}}},
}


@turnbuckle.hook("pre", needs=["headers"])
def Welcome(x: turnbuckle.Exchange) -> None:
    """Sets a header, and answers when it is asked to."""
    x.request.headers["X-Greeting"] = "hello " + x.request.host
    x.request.headers.delete("X-Remove")
    x.count("welcomed")
    if x.request.path.endswith("/teapot"):
        x.answer(418, {"Content-Type": "text/x-tea", "X-Pot": ["1", "2"]}, "short and stout\n")
    if x.request.path.endswith("/broken"):
        raise RuntimeError("a bug in a hook")


@turnbuckle.hook("pre", needs=["headers"], headers=["X-Wait"])
async def Wait(x: turnbuckle.Exchange) -> None:
    """Waits as many milliseconds as X-Wait says, and holds nobody."""
    milliseconds = int(x.request.headers.get("X-Wait", "0"))
    if milliseconds > 0:
        await asyncio.sleep(milliseconds / 1000)


@turnbuckle.hook("auth", needs=["headers"], headers=["Authorization"])
def CheckKey(x: turnbuckle.Exchange) -> None:
    """Knows the keys of the route's configuration."""
    key = x.request.headers.get("Authorization")
    if key is None:
        return  # nobody: the gateway refuses
    alias = (x.config or {}).get("keys", {}).get(key)
    if alias is None:
        x.refuse(403, "unknown key", {"X-Reason": "key"})
    x.set_session({"key_id": key, "alias": alias, "meta_data": {"plan": "gold"}})


@turnbuckle.hook("post", needs=["headers", "query", "session", "body"], body_limit=1 << 20)
def Tell(x: turnbuckle.Exchange) -> None:
    """Tells the upstream who calls, and changes what it is asked to."""
    q, session = x.request, x.session
    if session is not None:
        q.headers["X-Alias"], q.headers["X-Plan"] = session.alias, session.meta_data["plan"]
    q.headers.add("X-Many", "3")
    if q.path.startswith("/python/old/"):
        q.path = q.path.replace("/old/", "/new/")
        q.query.set("b", "2")
    if q.headers.get("X-Edit") == "append":
        q.body = q.body + b"+python"


@turnbuckle.hook("response", needs=["response_headers", "response_body"], body_limit=1 << 20)
def Sign(x: turnbuckle.Exchange) -> None:
    """Changes header, status and body of the reply."""
    r = x.response
    r.headers["X-Signed"] = ["one", "two"]
    r.headers.delete("X-Internal")
    if r.headers.get("Content-Type") == "text/plain":
        r.body = r.body + b"signed\n"
    if x.request.method == "PUT":
        r.status = 201


@turnbuckle.observer
def Watch(batch: turnbuckle.Batch) -> None:
    """Prints what has ended and what has happened."""
    for r in batch.records:
        print("record", r.method.decode(), r.path.decode(), r.status, r.alias, file=sys.stderr, flush=True)
    for e in batch.events:
        print("event", e.type, e.route, file=sys.stderr, flush=True)
