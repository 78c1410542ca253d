"""A server for plugins in Python, written from PROTOCOL.md: Describe, Session and health, on asyncio."""

import asyncio
import collections
import inspect
import os
import signal
import time

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from plugin.v1 import plugin_pb2 as pb
from plugin.v1 import plugin_pb2_grpc
from turnbuckle_exchange import Exchange, ProtocolError, Refusal, changed, merge

CREDIT = 256  # calls the host may have outstanding on a stream
FRAME_BYTES = 4 << 20  # a message that any gRPC peer takes
FRAME_ROOM = 64 << 10  # of which this much stays free
NEEDS = {name: 1 << bit for bit, name in enumerate(
    ("headers", "query", "body", "response_headers", "response_body", "session", "values", "peer", "trace", "nothing"))}

Hook = collections.namedtuple("Hook", "run phase needs header_names")
Outstanding = collections.namedtuple("Outstanding", "task why")


class Plugin:
    """Hooks and observers by name. A hook is a function of an Exchange; one that waits for something is an async function,
    so that it does not hold the others. An observer is a function of a Record or an Event."""

    def __init__(self, name, version, config_schema=b""):
        self.name, self.version, self.config_schema = name, version, config_schema
        self.hooks, self.observers = {}, {}

    def hook(self, phase=pb.PHASE_UNSPECIFIED, needs=(), header_names=()):
        def register(run):
            self.hooks[run.__name__, phase] = Hook(run, phase, sum(NEEDS[n] for n in needs), header_names)
            return run
        return register

    def observer(self, run):
        self.observers[run.__name__] = run
        return run

    def find(self, name, phase):
        return self.hooks.get((name, phase)) or self.hooks.get((name, pb.PHASE_UNSPECIFIED))


class Servicer(plugin_pb2_grpc.PluginServicer):
    def __init__(self, plugin):
        self.plugin, self.streams, self.draining = plugin, set(), False

    async def Describe(self, request, context):
        reply = pb.DescribeReply(name=self.plugin.name, version=self.plugin.version, minor=0, config_schema=self.plugin.config_schema)
        for (name, phase), hook in self.plugin.hooks.items():
            reply.hooks.add(name=name, phase=phase, needs=pb.Needs(fields=hook.needs, header_names=hook.header_names))
        reply.observers.extend(self.plugin.observers)
        reply.limits.frame_bytes = FRAME_BYTES - FRAME_ROOM
        return reply

    async def Session(self, requests, context):
        stream = Stream(self.plugin, context)
        if self.draining:
            stream.drain()
        self.streams.add(stream)
        try:
            await stream.serve(requests)
        finally:
            self.streams.discard(stream)

    def drain(self):
        self.draining = True
        for stream in self.streams:
            stream.drain()


class Stream:
    """One Session. A reader takes frames and starts calls; a writer sends what is ready, with the acknowledgement."""

    def __init__(self, plugin, context):
        self.plugin, self.context = plugin, context
        self.bindings, self.calls = {}, {}
        self.replies, self.ack, self.tell_drain = collections.deque(), 0, False
        self.ready, self.more = asyncio.Event(), True  # more: calls may still come

    async def serve(self, requests):
        await self.context.write(pb.PluginFrame(credit=CREDIT))
        reader, writer = asyncio.create_task(self.read(requests)), asyncio.create_task(self.write())
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if not writer.done():
                reader.result()
            await writer  # which ends when no call can come and everything is answered
        finally:
            for task in (reader, writer, *(call.task for call in self.calls.values())):
                task.cancel()

    async def read(self, requests):
        async for frame in requests:
            self.take(frame, time.monotonic())
        self.more = False
        self.ready.set()

    def drain(self):
        self.tell_drain = True
        self.ready.set()

    def take(self, frame, arrived):
        for binding in frame.bindings:
            self.bindings[binding.id] = binding
        for call in frame.calls:
            self.start(call, arrived)
        for id in frame.cancels:
            self.stop(id, pb.FAILURE_CODE_CANCELED)
        for thing in (*frame.records, *frame.events):
            for name in frame.observers or self.plugin.observers:
                if name in self.plugin.observers:
                    self.plugin.observers[name](thing)
        self.ack = max(self.ack, frame.seq)
        self.more = self.more and not frame.drain
        self.ready.set()

    def start(self, call, arrived):
        binding = self.bindings.get(call.binding)
        if binding is None:
            self.fail(call.id, pb.FAILURE_CODE_PROTOCOL, "binding %d is not known" % call.binding)
        elif len(self.calls) >= CREDIT:
            self.fail(call.id, pb.FAILURE_CODE_OVERLOADED, "more than %d calls" % CREDIT)
        else:
            why = []  # gets the failure with which the call is ended from outside
            task = asyncio.create_task(self.run(binding, call, arrived, why))
            task.add_done_callback(lambda _: self.ended(call.id))
            self.calls[call.id] = Outstanding(task, why)

    def ended(self, id):
        """A call that was stopped before it began has run nothing that could reply."""
        call = self.calls.pop(id, None)
        if call:
            self.fail(id, call.why[0] if call.why else pb.FAILURE_CODE_CANCELED, "the call was stopped")

    def stop(self, id, code):
        call = self.calls.get(id)
        if call and not call.why:
            call.why.append(code)
            call.task.cancel()

    async def run(self, binding, call, arrived, why):
        reply = pb.Reply(id=call.id, queued_us=micros(arrived))
        timer = None
        if call.timeout_us:
            left = call.timeout_us / 1e6 - (time.monotonic() - arrived)
            timer = asyncio.get_running_loop().call_later(left, self.stop, call.id, pb.FAILURE_CODE_TIMEOUT)
        try:
            await self.run_hooks(binding, call, reply)
        finally:
            if timer:
                timer.cancel()
            del self.calls[call.id]
            if why and reply.failure.code == pb.FAILURE_CODE_CANCELED:
                reply.failure.code = why[0]
            self.answer(reply)

    async def run_hooks(self, binding, call, reply):
        x = Exchange(binding, call, reply.logs, reply.counters)
        for index, use in enumerate(binding.hooks):
            hook = self.plugin.find(use.name, binding.phase)
            if hook is None:
                set_failure(reply, pb.FAILURE_CODE_UNIMPLEMENTED, "no hook %s in phase %d" % (use.name, binding.phase))
                reply.outcomes.add(hook=index)
                return
            x.begin(index, use.config or binding.route.config)
            began = time.monotonic()
            well = await self.run_hook(hook, x, reply)
            outcome = reply.outcomes.add(hook=index, duration_us=micros(began))
            if not well:
                return
            outcome.changed = changed(x.effects)
            merge(reply.effects, x.effects)
            if x.effects.HasField("answer") and binding.phase != pb.PHASE_RESPONSE:
                return

    async def run_hook(self, hook, x, reply):
        try:
            result = hook.run(x)
            if inspect.isawaitable(result):
                await result
            return True
        except Refusal as refusal:
            reply.error.status, reply.error.message = refusal.status, refusal.message
            for name, value in refusal.headers:
                reply.error.headers.add(name=name, value=value)
        except ProtocolError as error:
            set_failure(reply, pb.FAILURE_CODE_PROTOCOL, str(error))
        except asyncio.CancelledError:  # by stop, or because the stream is gone
            set_failure(reply, pb.FAILURE_CODE_CANCELED, "the hook was stopped")
        except Exception as error:
            set_failure(reply, pb.FAILURE_CODE_FAILED, "%s: %s" % (type(error).__name__, error))
        return False

    def fail(self, id, code, message):
        reply = pb.Reply(id=id)
        set_failure(reply, code, message)
        self.answer(reply)

    def answer(self, reply):
        if reply.ByteSize() > FRAME_BYTES - FRAME_ROOM:
            size = reply.ByteSize()
            reply = pb.Reply(id=reply.id, outcomes=reply.outcomes)
            set_failure(reply, pb.FAILURE_CODE_FAILED, "the reply has %d bytes" % size)
        self.replies.append(reply)
        self.ready.set()

    async def write(self):
        acked = 0
        while self.more or self.calls or self.replies or self.ack > acked:
            await self.ready.wait()
            await asyncio.sleep(0)  # calls that end at once go with the acknowledgement
            self.ready.clear()
            while self.replies or self.ack > acked or self.tell_drain:
                frame = pb.PluginFrame(ack=self.ack if self.ack > acked else 0, drain=self.tell_drain)
                acked, self.tell_drain = self.ack, False
                size = 0
                while self.replies and size + self.replies[0].ByteSize() < FRAME_BYTES - FRAME_ROOM // 2:
                    size += self.replies[0].ByteSize() + 8
                    frame.replies.append(self.replies.popleft())
                await self.context.write(frame)


def micros(since):
    return int((time.monotonic() - since) * 1e6)


def set_failure(reply, code, message):
    reply.failure.code, reply.failure.message = code, message[:1024]


async def serve(plugin, address, grace=10, linger=2):
    """Serves on host:port or unix:PATH until SIGTERM. Then hosts have linger seconds to move to another instance before they
    are asked to leave, and grace seconds in all. An instance that is started on the same path takes over from this one:
    each has a socket of its own, and the path is a link to the youngest."""
    server = grpc.aio.server(options=[
        ("grpc.http2.min_ping_interval_without_data_ms", 5000),  # the host may ping as often
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 0),
    ])
    servicer, wellness = Servicer(plugin), health.aio.HealthServicer()
    plugin_pb2_grpc.add_PluginServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(wellness, server)
    path = address.removeprefix("unix:") if address.startswith("unix:") else None
    own = "%s.%d" % (path, os.getpid())
    port = server.add_insecure_port("unix:" + own if path else address)
    await say(wellness, health_pb2.HealthCheckResponse.SERVING)
    await server.start()
    if path:
        os.symlink(own, own + ".link")
        os.replace(own + ".link", path)
    print("listening on", address if path else "%s:%d" % (address.rsplit(":", 1)[0], port), flush=True)

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    # First GOAWAY: a host with nowhere else to go connects to who has taken over and moves, calls and all.
    ending = asyncio.create_task(server.stop(grace))
    await asyncio.wait((ending,), timeout=linger)
    # Who is still there has found nobody, or is busy here.
    await say(wellness, health_pb2.HealthCheckResponse.NOT_SERVING)
    servicer.drain()
    while servicer.streams and not ending.done():
        await asyncio.sleep(0.01)
    await server.stop(0.1)  # health watches may be left
    await ending
    print("stopped", flush=True)


async def say(wellness, status):
    for service in ("", "turnbuckle.plugin.v1.Plugin"):
        await wellness.set(service, status)
