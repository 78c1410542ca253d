package pluginserver;

import io.grpc.Status;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import turnbuckle.plugin.v1.PluginOuterClass;
import turnbuckle.plugin.v1.PluginOuterClass.Binding;
import turnbuckle.plugin.v1.PluginOuterClass.Call;
import turnbuckle.plugin.v1.PluginOuterClass.FailureCode;
import turnbuckle.plugin.v1.PluginOuterClass.HostFrame;
import turnbuckle.plugin.v1.PluginOuterClass.PluginFrame;
import turnbuckle.plugin.v1.PluginOuterClass.Reply;

/** One stream of the native protocol. gRPC's threads bring frames, workers run calls, one writer at a time sends what is finished. */
final class Stream implements StreamObserver<HostFrame> {
    static final int CREDIT = 128; // calls that a host may have outstanding on a stream
    private static final int MOST_BINDINGS = 65_536;
    private static final int MOST_LINES = 16_384;
    private static final int FRAME_FULL = 256 << 10; // a frame of this size is sent, and the next begun
    private static final long DAY = 86_400_000_000L;

    private final Server server;
    private final ServerCallStreamObserver<PluginFrame> out;
    private final Map<Integer, Binding> bindings = new HashMap<>(); // of the thread that brings frames
    // Guarded by this.
    private final Map<Long, Run> calls = new HashMap<>();
    private final ArrayDeque<Reply> replies = new ArrayDeque<>();
    private long received;
    private long acked;
    private boolean writing;
    private boolean drainWanted;
    private boolean drainTold;
    private boolean over; // no call will come
    private boolean ended;

    Stream(Server server, ServerCallStreamObserver<PluginFrame> out) {
        this.server = server;
        this.out = out;
        out.setOnCancelHandler(this::abandon);
        out.onNext(PluginFrame.newBuilder().setCredit(CREDIT).build());
    }

    /** Asks the host to send no more. */
    void drain() {
        synchronized (this) {
            drainWanted = true;
        }
        flush();
    }

    @Override
    public void onNext(HostFrame frame) {
        long arrived = System.nanoTime();
        for (Binding b : frame.getBindingsList()) {
            if (bindings.size() >= MOST_BINDINGS && !bindings.containsKey(b.getId())) {
                fail(Status.RESOURCE_EXHAUSTED.withDescription("more than " + MOST_BINDINGS + " bindings on one stream"));
                return;
            }
            bindings.put(b.getId(), b);
        }
        for (Call call : frame.getCallsList()) call(call, arrived);
        for (long id : frame.getCancelsList()) stop(id, FailureCode.FAILURE_CODE_CANCELED, "the host cancelled the call");
        server.observe(frame);
        synchronized (this) {
            received = Math.max(received, frame.getSeq());
            over |= frame.getDrain();
        }
        flush();
    }

    @Override
    public void onError(Throwable t) {
        abandon();
    }

    @Override
    public void onCompleted() {
        synchronized (this) {
            over = true;
        }
        flush();
    }

    private void call(Call call, long arrived) {
        Binding binding = bindings.get(call.getBinding());
        if (call.getId() == 0) {
            fail(Status.INVALID_ARGUMENT.withDescription("a call without id"));
        } else if (binding == null) {
            refuse(call, FailureCode.FAILURE_CODE_PROTOCOL, "binding " + call.getBinding() + " was not sent on this stream");
        } else if (binding.getHooksCount() == 0) {
            refuse(call, FailureCode.FAILURE_CODE_PROTOCOL, "binding " + call.getBinding() + " names no hook");
        } else if (Math.max(call.getHeadersCount(), call.getResponse().getHeadersCount()) > MOST_LINES) {
            refuse(call, FailureCode.FAILURE_CODE_PROTOCOL, "more than " + MOST_LINES + " header lines");
        } else {
            begin(call, new Run(server.plugin(), binding, call, arrived));
        }
    }

    private void begin(Call call, Run run) {
        boolean taken;
        synchronized (this) {
            taken = !ended && calls.size() < CREDIT;
            if (taken) calls.put(run.id(), run);
        }
        if (!taken) {
            refuse(call, FailureCode.FAILURE_CODE_OVERLOADED, "more than " + CREDIT + " calls outstanding on the stream");
            return;
        }
        if (call.getTimeoutUs() != 0) {
            long micros = call.getTimeoutUs() < 0 ? DAY : Math.min(call.getTimeoutUs(), DAY); // it is unsigned
            run.deadline = server.clock().schedule(() -> stop(run.id(), FailureCode.FAILURE_CODE_TIMEOUT, "the deadline passed"), micros, TimeUnit.MICROSECONDS);
        }
        try {
            server.workers().execute(() -> {
                run.start();
                if (run.claim()) done(run);
            });
        } catch (RejectedExecutionException e) {
            stop(run.id(), FailureCode.FAILURE_CODE_OVERLOADED, "hooks have not returned, of calls that nobody waits for");
        }
    }

    private void refuse(Call call, FailureCode code, String message) {
        synchronized (this) {
            replies.add(Reply.newBuilder().setId(call.getId()).setFailure(failure(code, message)).build());
        }
    }

    private static PluginOuterClass.Failure failure(FailureCode code, String message) {
        return PluginOuterClass.Failure.newBuilder().setCode(code).setMessage(message).build();
    }

    private void stop(long id, FailureCode code, String message) {
        Run run;
        synchronized (this) {
            run = calls.get(id);
        }
        if (run != null && run.stop(code, message)) done(run);
    }

    private void done(Run run) {
        if (run.deadline != null) run.deadline.cancel(false);
        Reply reply = run.reply();
        int size = reply.getSerializedSize();
        if (size > Server.MAX_MESSAGE - 64) {
            Reply.Builder less = Reply.newBuilder().setId(run.id());
            reply.getOutcomesList().forEach(o -> less.addOutcomes(o.toBuilder().clearChanged()));
            reply = less.setFailure(failure(FailureCode.FAILURE_CODE_FAILED, "a reply of " + size + " bytes, the server sends " + (Server.MAX_MESSAGE - 64) + " at most")).build();
        }
        synchronized (this) {
            calls.remove(run.id());
            replies.add(reply);
        }
        flush();
    }

    /** Sends what there is to send. Who comes while another sends leaves it to that one: so replies share frames under load. */
    private void flush() {
        synchronized (this) {
            if (writing) return;
            writing = true;
        }
        while (true) {
            PluginFrame frame;
            synchronized (this) {
                frame = ended ? null : next();
                if (frame == null) {
                    writing = false;
                    if (ended || !over || !calls.isEmpty()) return;
                    ended = true;
                }
            }
            if (frame == null) {
                out.onCompleted();
                server.left(this);
                return;
            }
            out.onNext(frame);
        }
    }

    /** The next frame; null when there is nothing to say. */
    private PluginFrame next() {
        PluginFrame.Builder frame = PluginFrame.newBuilder();
        int size = 0;
        while (!replies.isEmpty()) {
            int more = replies.peek().getSerializedSize() + 8;
            if (size > 0 && size + more > FRAME_FULL) break;
            size += more;
            frame.addReplies(replies.remove());
        }
        if (received > acked) frame.setAck(acked = received);
        if (drainWanted && !drainTold) frame.setDrain(drainTold = true);
        return size == 0 && frame.getAck() == 0 && !frame.getDrain() ? null : frame.build();
    }

    private void fail(Status status) {
        if (end()) out.onError(status.asRuntimeException());
    }

    /** The stream is gone: nobody hears what still runs. */
    private void abandon() {
        end();
    }

    private boolean end() {
        List<Run> left;
        synchronized (this) {
            if (ended) return false;
            ended = true;
            left = List.copyOf(calls.values());
            calls.clear();
        }
        for (Run run : left) {
            run.stop(FailureCode.FAILURE_CODE_CANCELED, "the stream ended");
            if (run.deadline != null) run.deadline.cancel(false);
        }
        server.left(this);
        return true;
    }
}
