"""A Python plugin as it is written for Tyk. Nothing in it knows which gateway calls."""

import json

from gateway import TykGateway as tyk
from tyk.decorators import *

KEYS = {"open sesame": ("ali", "gold")}


@Hook
def Greet(request, session, spec):
    """pre: adds and removes headers, and answers some paths itself."""
    request.add_header("X-Greeting", "hello " + request.get_header("Host"))
    request.delete_header("X-Remove")
    overrides = request.object.return_overrides
    if request.object.url == "/tyk/teapot":
        overrides.response_code = 418
        overrides.response_body = "short & stout\n"
        overrides.override_error = True
        overrides.headers["Content-Type"] = "text/x-tea"
    elif request.object.url == "/tyk/closed":
        overrides.response_code = 451
        overrides.response_error = "closed by order"
        overrides.headers["X-Reason"] = "order"
    elif request.object.url == "/tyk/broken":
        raise RuntimeError("a bug in a hook")
    return request, session


@Hook
def CheckKey(request, session, metadata, spec):
    """auth_check: who the key belongs to. Without a token in the metadata nobody is let in."""
    key = request.get_header("Authorization") or ""
    if key == "no token":
        session.alias = "nobody"
    elif key not in KEYS:
        request.object.return_overrides.response_code = 401
        request.object.return_overrides.response_error = "unknown key"
        tyk.log("unknown key", "warning")
    else:
        session.alias, plan = KEYS[key]
        session.rate = 1000
        session.per = 1
        metadata["plan"] = plan
        metadata["token"] = key
    return request, session, metadata


@Hook
def TellSession(request, session, metadata, spec):
    """post_key_auth: tells the upstream who calls, from the session and from the definition's config_data."""
    import tiers

    request.add_header("X-Alias", session.alias)
    request.add_header("X-Plan", metadata["plan"])
    request.add_header("X-Tier", tiers.of(json.loads(spec["config_data"])))
    request.delete_header("Authorization")
    return request, session, metadata


@Hook
def Rewrite(request, session, spec):
    """post: another method, path, query and body for those that ask for it."""
    r = request.object
    if "q" in r.params:
        request.add_param("query", r.params["q"])
        request.delete_param("q")
    r.url = r.url.replace("/tyk/old/", "/tyk/new/")
    r.method = request.get_header("X-Method") or r.method
    edit = request.get_header("X-Edit")
    if edit == "append":
        r.raw_body += b"+shim"
    elif edit == "empty":
        r.raw_body = b""
    return request, session


@Hook
def Sign(request, response, session, metadata, spec):
    """response: a header of several lines, the body of text, the status of what was created."""
    response.multivalue_headers.add(key="X-Signed", values=["one", "two"])
    if response.headers["Content-Type"] == "text/plain":
        response.raw_body += b"signed\n"
    if request.object.method == "PUT":
        response.status_code = 201
    return response


@Hook
def Tidy(request, response, session, metadata, spec):
    """response: headers through the map of first values. A hook changes it or multivalue_headers, one of the two."""
    response.headers["X-Single"] = "yes"
    if "X-Internal" in response.headers:
        del response.headers["X-Internal"]
    return response


@Event
def OnAuthFailure(event, spec):
    print("event OnAuthFailure", event["type"], spec["APIID"], flush=True)
