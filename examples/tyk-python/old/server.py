"""A plugin server as it was written years ago, with the messages of its day: those of 2017 know neither raw_body nor
replies, those of 2020 know both but not multivalue_headers. It serves with either."""

import argparse
import signal
from concurrent import futures

import grpc

import coprocess_object_pb2
import coprocess_object_pb2_grpc


class Dispatcher(coprocess_object_pb2_grpc.DispatcherServicer):
    def Dispatch(self, object, context):
        if object.hook_name == "Edit":
            edit(object.request)
        elif object.hook_name == "Sign" and hasattr(object, "response"):
            sign(object.response)
        return object

    def DispatchEvent(self, event, context):
        return coprocess_object_pb2.EventReply()


def edit(request):
    request.set_headers["X-Old"] = "yes"
    wish = request.headers.get("X-Edit", "")
    if wish == "append":
        request.body += "+old"
        if hasattr(request, "raw_body"):
            request.raw_body += b"+old"
    elif wish == "empty":
        request.body = ""
        if hasattr(request, "raw_body"):
            request.raw_body = b""


def sign(response):
    response.headers["X-Single"] = "yes"
    response.headers["Set-Cookie"] = "a=2"
    if "X-Internal" in response.headers:
        del response.headers["X-Internal"]
    if response.headers["Content-Type"] == "text/plain":
        response.raw_body += b"signed\n"


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
