"""A plugin with hooks in all phases, on the server of turnbuckle.py."""

import argparse
import asyncio
import json
import os

import turnbuckle
from turnbuckle_exchange import AUTH, PRE, RESPONSE, Refusal

plugin = turnbuckle.Plugin("gatekeeper", "1.0.0", config_schema=json.dumps({
    "type": "object",
    "additionalProperties": False,
    "properties": {"keys": {"type": "object", "additionalProperties": {"type": "string"}}},
}).encode())
gates = {}  # what Hold waits for


@plugin.hook(PRE, needs=["headers", "query"])
def Welcome(x):
    """Sets a header, and answers or breaks when it is asked to."""
    x.headers.set("X-Greeting", "hello " + x.call.host.decode())
    x.headers.delete("X-Remove")
    x.set_value("greeted", b"true")
    x.count("welcomed")
    if x.path.endswith("/teapot"):
        x.answer(418, "short and stout\n", [("Content-Type", "text/x-tea"), ("X-Pot", "1"), ("X-Pot", "2")])
    elif x.path.endswith("/broken"):
        raise RuntimeError("a bug in a hook")
    elif x.path.endswith("/split"):
        x.headers.set("X-Evil", "a\r\nX-Injected: b")


@plugin.hook(PRE, needs=["headers", "values"])
async def Hold(x):
    """Waits X-Sleep seconds, and until a request with X-Release opens the gate that X-Hold names."""
    if x.value("greeted") is None:
        raise RuntimeError("Welcome did not run before")
    release, name = x.headers.get("X-Release"), x.headers.get("X-Hold")
    if release:
        gates.setdefault(release, asyncio.Event()).set()
    sleep = float(x.headers.get("X-Sleep", "0"))
    if sleep:
        print("sleeping", flush=True)
        await asyncio.sleep(sleep)
    if not name:
        return
    print("holding", name, flush=True)
    try:
        await gates.setdefault(name, asyncio.Event()).wait()
    except asyncio.CancelledError:
        print("left", name, flush=True)
        raise
    x.log(0, "held " + name)


@plugin.hook(AUTH, needs=["headers"], header_names=["Authorization"])
def CheckKey(x):
    """Knows the keys of the route's configuration."""
    key = x.headers.get("Authorization")
    if key is None:
        return  # nobody: the gateway refuses
    owner = json.loads(x.config or b"{}").get("keys", {}).get(key)
    if owner is None:
        raise Refusal(403, "unknown key", [("X-Reason", "key")])
    x.authenticate(key, alias=owner, metadata={"plan": "gold"})


@plugin.hook(needs=["headers", "session", "query", "body"])
def Tell(x):
    """In any phase after auth: tells the upstream who calls, and changes what it is asked to."""
    if x.session is not None:
        x.headers.set("X-Alias", x.session.alias)
        x.headers.set("X-Plan", x.session.metadata["plan"])
    x.headers.add("X-Many", "3")
    x.headers.set("X-Instance", str(os.getpid()))
    if x.path.startswith("/native/old/"):
        x.path = x.path.replace("/old/", "/new/")
        x.query = "b=2"
    if x.headers.get("X-Edit") == "append":
        x.body = x.body + b"+native"


@plugin.hook(RESPONSE, needs=["response_headers", "response_body"])
def Sign(x):
    """Changes header, status and body of the reply."""
    x.response_headers.add("X-Signed", "one")
    x.response_headers.add("X-Signed", "two")
    x.response_headers.delete("X-Internal")
    if x.response_headers.get("Content-Type") == "text/plain":
        x.response_body = x.response_body + b"signed\n"
    if x.method == "PUT":
        x.status = 201


@plugin.observer
def Watch(thing):
    """Prints what has ended and what has happened."""
    if hasattr(thing, "status"):
        print("record", thing.method.decode(), thing.path.decode(), thing.status, thing.alias, flush=True)
    else:
        print("event", thing.type, thing.route, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", default="unix:/tmp/turnbuckle-native-python.sock")
    parser.add_argument("--linger", type=float, default=2)
    args = parser.parse_args()
    asyncio.run(turnbuckle.serve(plugin, args.listen, linger=args.linger))
