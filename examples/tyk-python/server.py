"""A plugin server as it is written for Tyk: the generated modules of the coprocess protocol and a switch over hook
names. Nothing in it knows which gateway calls."""

import argparse
import json
import signal
from concurrent import futures

import grpc

import coprocess_object_pb2
import coprocess_object_pb2_grpc
from coprocess_response_object_pb2 import Header

KEYS = {"open sesame": ("ali", "gold")}


class Dispatcher(coprocess_object_pb2_grpc.DispatcherServicer):
    def Dispatch(self, object, context):
        hooks = {
            "Greet": greet,
            "CheckKey": check_key,
            "TellSession": tell_session,
            "Rewrite": rewrite,
            "Sign": sign,
            "Tidy": tidy,
        }
        if object.hook_name not in hooks:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no hook " + object.hook_name)
        hooks[object.hook_name](object)
        return object

    def DispatchEvent(self, event, context):
        facts = json.loads(event.payload)
        print("event", facts["handler_name"], facts["message"]["Type"], facts["spec"]["APIID"], flush=True)
        return coprocess_object_pb2.EventReply()


def greet(object):
    """pre: adds and removes headers, and answers some paths itself."""
    request = object.request
    request.set_headers["X-Greeting"] = "hello " + request.headers["Host"]
    request.delete_headers.append("X-Remove")
    overrides = request.return_overrides
    if request.url == "/tyk/teapot":
        overrides.response_code = 418
        overrides.response_body = "short & stout\n"
        overrides.override_error = True
        overrides.headers["Content-Type"] = "text/x-tea"
    elif request.url == "/tyk/closed":
        overrides.response_code = 451
        overrides.response_error = "closed by order"
        overrides.headers["X-Reason"] = "order"
    elif request.url == "/tyk/broken":
        raise RuntimeError("a bug in a hook")


def check_key(object):
    """auth_check: who the key belongs to. Without a token in the metadata nobody is let in."""
    key = object.request.headers.get("Authorization", "")
    if key == "no token":
        object.session.alias = "nobody"
        return
    if key not in KEYS:
        object.request.return_overrides.response_code = 401
        object.request.return_overrides.response_error = "unknown key"
        return
    alias, plan = KEYS[key]
    object.session.alias = alias
    object.session.rate = 1000
    object.session.per = 1
    object.session.metadata["plan"] = plan
    object.metadata["token"] = key


def tell_session(object):
    """post_key_auth: tells the upstream who calls, from the session and from the definition's config_data."""
    request = object.request
    request.set_headers["X-Alias"] = object.session.alias
    request.set_headers["X-Plan"] = object.metadata.get("plan", "")
    request.set_headers["X-Tier"] = json.loads(object.spec["config_data"])["tier"]
    request.delete_headers.append("Authorization")


def rewrite(object):
    """post: another method, path, query and body for those that ask for it."""
    request = object.request
    if "q" in request.params:
        request.add_params["query"] = request.params["q"]
        request.delete_params.append("q")
    request.url = request.url.replace("/tyk/old/", "/tyk/new/")
    if request.headers.get("X-Method"):
        request.method = request.headers["X-Method"]
    edit = request.headers.get("X-Edit", "")
    if edit == "append":
        request.raw_body += b"+python"
    elif edit == "empty":
        request.raw_body = b""


def sign(object):
    """response: a header of several lines, the body of text, the status of what was created."""
    response = object.response
    response.multivalue_headers.append(Header(key="X-Signed", values=["one", "two"]))
    if response.headers["Content-Type"] == "text/plain":
        response.raw_body += b"signed\n"
    if object.request.method == "PUT":
        response.status_code = 201


def tidy(object):
    """response: headers through the map of first values. It is merged into multivalue_headers; a hook changes one of the
    two, because a name that the map lacks is taken out of the other."""
    object.response.headers["X-Single"] = "yes"
    if "X-Internal" in object.response.headers:
        del object.response.headers["X-Internal"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", default="127.0.0.1:5555")
    args = parser.parse_args()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=10))
    coprocess_object_pb2_grpc.add_DispatcherServicer_to_server(Dispatcher(), server)
    port = server.add_insecure_port(args.listen)
    server.start()
    print("listening on %s:%d" % (args.listen.rsplit(":", 1)[0], port), flush=True)
    signal.signal(signal.SIGTERM, lambda *_: server.stop(1))
    server.wait_for_termination()


if __name__ == "__main__":
    main()
