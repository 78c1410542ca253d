"""The hooks of proto/CONFORMANCE.md: what `turnbuckle plugin conform` calls. An observer and the report of what it saw have to be in
one process, so it is served by one worker."""

import asyncio
import base64
import json
from typing import Any, Callable, Dict, List, Optional

import turnbuckle

plugin = turnbuckle.Plugin("conformance", "1.0.0")
seen: Dict[str, List[str]] = {"records": [], "events": []}
EVERYTHING = ["default", "body", "response_body", "peer"]


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def lines(headers: turnbuckle.Headers) -> List[List[str]]:
    return [[name, encoded(octets(value))] for name, value in headers.entries()]


def value(step: Dict[str, Any]) -> bytes:
    return base64.b64decode(step["value64"]) if "value64" in step else octets(step.get("value", ""))


def message(x: turnbuckle.Exchange, step: Dict[str, Any]) -> Any:
    return x.response if step.get("of") == "response" else x.request


def body(part: Any) -> Optional[str]:
    try:
        return encoded(part.body)
    except turnbuckle.NotAskedFor:
        return None


def report(x: turnbuckle.Exchange, step: Dict[str, Any]) -> None:
    q, s, r = x.request, x.session, x.route
    reply = x.response
    told = {
        "phase": x.phase, "method": q.method, "path": q.path, "query": q.query.raw, "uri": q.uri, "scheme": q.scheme, "host": q.host,
        "proto": q.proto, "client": x.client, "client_port": x.client_port, "request_id": x.request_id, "headers": lines(q.headers),
        "length": q.length, "body": body(q), "param_q": q.query.get_all("q"),
        "route": {"id": r.id, "name": r.name, "org": r.org, "listen_path": r.listen_path, "bundle": r.bundle},
        "note": (x.config or {}).get("note"), "trace": {"parent": x.trace.parent, "state": x.trace.state},
        "peer": x.peer.sha256 if x.peer else None,
        "session": s and {"key_id": s.key_id, "alias": s.alias, "org_id": s.org_id, "rate": s.rate, "quota_max": s.quota_max, "tags": s.tags, "metadata": s.meta_data},
        "values": {name: None if data is None else encoded(data) for name in step.get("values", []) for data in [x.raw_value(name)]},
        "response": {"status": reply.status, "headers": lines(reply.headers), "body": body(reply)} if reply.status else None,
        "observed": seen,
    }
    x.answer(200, {"Content-Type": "application/json"}, json.dumps(told))


def set_session(x: turnbuckle.Exchange, s: Dict[str, Any]) -> None:
    given = dict(s["session"])
    metadata = given.pop("metadata", None)
    x.set_session({**given, "meta_data": metadata or {}})


def fail(x: turnbuckle.Exchange, s: Dict[str, Any]) -> None:
    raise RuntimeError(s["message"])


def crash(x: turnbuckle.Exchange, s: Dict[str, Any]) -> None:
    raise SystemExit(s["message"])


def set_body(x: turnbuckle.Exchange, s: Dict[str, Any]) -> None:
    message(x, s).body = value(s) * s.get("repeat", 1)


def set_status(x: turnbuckle.Exchange, s: Dict[str, Any]) -> None:
    x.response.status = s["status"]


def set_method(x: turnbuckle.Exchange, s: Dict[str, Any]) -> None:
    x.request.method = s["value"]


def set_path(x: turnbuckle.Exchange, s: Dict[str, Any]) -> None:
    x.request.path = s["value"]


def set_query(x: turnbuckle.Exchange, s: Dict[str, Any]) -> None:
    x.request.query.raw = s.get("value", "")


STEPS: Dict[str, Callable[[turnbuckle.Exchange, Dict[str, Any]], Any]] = {
    "report": report, "set_session": set_session, "fail": fail, "crash": crash, "set_body": set_body, "set_status": set_status,
    "set_method": set_method, "set_path": set_path, "set_query": set_query,
    "set_header": lambda x, s: message(x, s).headers.set(s["name"], value(s)),
    "add_header": lambda x, s: message(x, s).headers.add(s["name"], value(s)),
    "del_header": lambda x, s: message(x, s).headers.delete(s["name"]),
    "set_param": lambda x, s: x.request.query.set(s["name"], s.get("value", "")),
    "add_param": lambda x, s: x.request.query.add(s["name"], s.get("value", "")),
    "del_param": lambda x, s: x.request.query.delete(s["name"]),
    "answer": lambda x, s: x.answer(s["status"], s.get("headers"), value(s)),
    "refuse": lambda x, s: x.refuse(s["status"], s.get("message", ""), s.get("headers")),
    "authenticate": lambda x, s: x.authenticate(s["key"], s.get("alias", "")),
    "clear_session": lambda x, s: x.set_session(None),
    "set_value": lambda x, s: x.set_raw_value(s["name"], value(s)),
    "del_value": lambda x, s: x.set_raw_value(s["name"], None),
    "log": lambda x, s: x.log(s["level"], s["message"]),
    "count": lambda x, s: x.count(s["name"], s["delta"]),
    "sleep": lambda x, s: asyncio.sleep(s["ms"] / 1000),
}


def conform(x: turnbuckle.Exchange) -> Any:
    """Runs the steps. A plain function that returns something to wait for where a step waits."""
    steps = (x.config or {}).get("steps") or []
    for i, step in enumerate(steps):
        known = STEPS.get(step["do"])
        if known is None:
            raise ValueError("unknown step %r" % step["do"])
        waits = known(x, step)
        if step["do"] == "sleep":
            return rest(x, waits, steps[i + 1 :])
    return None


async def rest(x: turnbuckle.Exchange, waits: Any, steps: List[Dict[str, Any]]) -> None:
    await waits
    for step in steps:
        known = STEPS.get(step["do"])
        if known is None:
            raise ValueError("unknown step %r" % step["do"])
        waiting = known(x, step)
        if step["do"] == "sleep":
            await waiting


def pick(which: str) -> Callable[[turnbuckle.Exchange], None]:
    def picked(x: turnbuckle.Exchange) -> None:
        x.request.headers["X-Picked"] = which

    return picked


plugin.add(conform, "Conform", needs=EVERYTHING)
plugin.add(conform, "ConformNarrow", "pre", ["headers"], ["X-One"], 1024)
plugin.add(pick("post"), "ConformPick", "post")
plugin.add(pick("any"), "ConformPick")


@plugin.observer
def ConformWatch(batch: turnbuckle.Batch) -> None:
    seen["records"] = (seen["records"] + [r.request_id for r in batch.records])[-100:]
    seen["events"] = (seen["events"] + [e.type for e in batch.events])[-100:]


if __name__ == "__main__":
    turnbuckle.serve(plugin, workers=1)
