package pluginserver;

import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.protobuf.services.HealthStatusManager;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import turnbuckle.plugin.v1.PluginGrpc;
import turnbuckle.plugin.v1.PluginOuterClass.DescribeReply;
import turnbuckle.plugin.v1.PluginOuterClass.DescribeRequest;
import turnbuckle.plugin.v1.PluginOuterClass.HostFrame;
import turnbuckle.plugin.v1.PluginOuterClass.PluginFrame;

/** A server of one plugin, in the native protocol. */
public final class Server {
    static final int MAX_MESSAGE = 4 << 20; // bytes, both ways
    private static final long HANDOVER = 500; // ms that hosts have to find a server that has taken the address over
    private static final long DRAIN = 10_000; // ms that calls may take to finish
    private static final int MOST_BATCHES = 1024; // that wait for one observer

    private final Plugin plugin;
    private final Set<Stream> streams = ConcurrentHashMap.newKeySet();
    private final ExecutorService workers = new ThreadPoolExecutor(4, 16 * Stream.CREDIT, 60, TimeUnit.SECONDS, new SynchronousQueue<>(), Server::daemon);
    private final ScheduledThreadPoolExecutor clock = new ScheduledThreadPoolExecutor(1, Server::daemon);
    private final Map<String, ThreadPoolExecutor> observers = new HashMap<>();
    private final HealthStatusManager health = new HealthStatusManager();
    private volatile boolean draining;
    private Path socket;

    public Server(Plugin plugin) {
        this.plugin = plugin;
        clock.setRemoveOnCancelPolicy(true);
        for (String name : plugin.observers().keySet()) {
            observers.put(name, new ThreadPoolExecutor(1, 1, 0, TimeUnit.SECONDS, new LinkedBlockingQueue<>(MOST_BATCHES), Server::daemon));
        }
    }

    /** Serves at --listen, or where the environment says, until SIGTERM or SIGINT. */
    public static void main(Plugin plugin, String[] args) throws IOException, InterruptedException {
        String address = System.getenv().getOrDefault("TURNBUCKLE_LISTEN", System.getenv("TURNBUCKLE_PLUGIN_LISTEN"));
        if (args.length == 2 && args[0].equals("--listen")) address = args[1];
        if (address == null) {
            System.err.println("no address to listen on: give --listen or set TURNBUCKLE_LISTEN");
            System.exit(2);
        }
        new Server(plugin).serve(address);
    }

    private void serve(String address) throws IOException, InterruptedException {
        NettyServerBuilder builder = address.startsWith("unix:") ? onSocket(Path.of(address.substring(5))) : onPort(address.replaceFirst("^tcp://", ""));
        for (String service : List.of("", PluginGrpc.SERVICE_NAME)) health.setStatus(service, ServingStatus.SERVING);
        io.grpc.Server server = builder.maxInboundMessageSize(MAX_MESSAGE).permitKeepAliveTime(4, TimeUnit.SECONDS).permitKeepAliveWithoutCalls(true)
            .addService(new Service()).addService(health.getHealthService()).build().start();
        if (socket != null) Files.setPosixFilePermissions(socket, PosixFilePermissions.fromString("rw-------"));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(stop(server) ? 0 : 1)));
        System.out.println("listening on " + (socket != null ? address : address.replaceFirst(":0$", ":" + server.getPort())));
        server.awaitTermination();
    }

    private NettyServerBuilder onSocket(Path path) throws IOException {
        Files.deleteIfExists(path); // of a server that ran before
        socket = path;
        EpollEventLoopGroup group = new EpollEventLoopGroup(1, Server::daemon);
        return NettyServerBuilder.forAddress(new DomainSocketAddress(path.toFile())).channelType(EpollServerDomainSocketChannel.class)
            .bossEventLoopGroup(group).workerEventLoopGroup(group);
    }

    private static NettyServerBuilder onPort(String address) {
        int colon = address.lastIndexOf(':');
        return NettyServerBuilder.forAddress(new InetSocketAddress(address.substring(0, colon), Integer.parseInt(address.substring(colon + 1))));
    }

    /** Stops as PROTOCOL.md 1.7 has it, and reports whether all calls were answered. */
    private boolean stop(io.grpc.Server server) {
        server.shutdown(); // listens no more and sends GOAWAY
        try {
            if (streams.isEmpty() || !server.awaitTermination(HANDOVER, TimeUnit.MILLISECONDS)) {
                draining = true;
                health.enterTerminalState();
                streams.forEach(Stream::drain);
                if (!server.awaitTermination(DRAIN, TimeUnit.MILLISECONDS)) {
                    server.shutdownNow();
                    return streams.isEmpty(); // watches of the health count for nothing
                }
            }
            return true;
        } catch (InterruptedException e) {
            return false;
        }
    }

    private static Thread daemon(Runnable run) {
        Thread thread = new Thread(run);
        thread.setDaemon(true);
        return thread;
    }

    Plugin plugin() {
        return plugin;
    }

    ExecutorService workers() {
        return workers;
    }

    ScheduledThreadPoolExecutor clock() {
        return clock;
    }

    void left(Stream stream) {
        streams.remove(stream);
    }

    /** Hands records and events to the observers they are for. What one cannot keep up with is dropped. */
    void observe(HostFrame frame) {
        if (frame.getRecordsCount() + frame.getEventsCount() == 0) return;
        observers.forEach((name, executor) -> {
            if (frame.getObserversCount() > 0 && !frame.getObserversList().contains(name)) return;
            try {
                executor.execute(() -> plugin.observers().get(name).accept(frame.getRecordsList(), frame.getEventsList()));
            } catch (RejectedExecutionException e) {
                System.err.println("observer " + name + " is slow: a batch was dropped");
            }
        });
    }

    private final class Service extends PluginGrpc.PluginImplBase {
        @Override
        public void describe(DescribeRequest request, StreamObserver<DescribeReply> reply) {
            reply.onNext(plugin.describe(MAX_MESSAGE));
            reply.onCompleted();
        }

        @Override
        public StreamObserver<HostFrame> session(StreamObserver<PluginFrame> out) {
            Stream stream = new Stream(Server.this, (ServerCallStreamObserver<PluginFrame>) out);
            streams.add(stream);
            if (draining) stream.drain();
            return stream;
        }
    }
}
