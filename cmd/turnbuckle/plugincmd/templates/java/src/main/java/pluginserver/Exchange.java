package pluginserver;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.ByteString;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import turnbuckle.plugin.v1.PluginOuterClass.Binding;
import turnbuckle.plugin.v1.PluginOuterClass.Call;
import turnbuckle.plugin.v1.PluginOuterClass.Counter;
import turnbuckle.plugin.v1.PluginOuterClass.Effects;
import turnbuckle.plugin.v1.PluginOuterClass.LogLine;
import turnbuckle.plugin.v1.PluginOuterClass.Phase;
import turnbuckle.plugin.v1.PluginOuterClass.Route;
import turnbuckle.plugin.v1.PluginOuterClass.Value;
import turnbuckle.plugin.v1.SessionOuterClass.Session;

/** One request and its reply, as the hooks of one call see and change them. It belongs to the thread that runs the hook. */
public final class Exchange {
    private static final int MOST = 256; // log lines and counters of a reply that a host takes, each
    final CompletableFuture<Failure> ended = new CompletableFuture<>();
    final List<LogLine> logs = new ArrayList<>();
    final List<Counter> counters = new ArrayList<>();
    private final Binding binding;
    private final Call call;
    private final Request request;
    private final Response response;
    private final Map<String, ByteString> values = new HashMap<>();
    private Map<String, Value> newValues = new LinkedHashMap<>();
    private Session session;
    private ByteString config;
    private Failure invalid;
    private boolean answered;
    private int index;
    private int changed;

    Exchange(Binding binding, Call call) {
        this.binding = binding;
        this.call = call;
        request = new Request(call, this::broken);
        response = new Response(call.getResponse(), this::broken);
        session = call.hasSession() ? call.getSession() : null;
        call.getValuesList().forEach(v -> values.put(v.getName(), v.getData()));
        begin(0, ByteString.EMPTY);
    }

    /** Prepares for the next hook of the call. */
    void begin(int hook, ByteString own) {
        index = hook;
        config = own.isEmpty() ? binding.getRoute().getConfig() : own;
        changed = 0;
        newValues = new LinkedHashMap<>();
    }

    /** Notes a change that no message can carry: it makes the hook fail when it returns. */
    private void broken(String why) {
        if (invalid == null) invalid = Failure.broken(why);
    }

    Failure invalid() {
        return invalid;
    }

    public Phase phase() {
        return binding.getPhase();
    }

    public Route route() {
        return binding.getRoute();
    }

    public Request request() {
        return request;
    }

    public Response response() {
        return response;
    }

    /** The configuration of the hook, else of the route; an empty object without one. */
    public JsonObject config() {
        return config.isEmpty() ? new JsonObject() : JsonParser.parseString(config.toStringUtf8()).getAsJsonObject();
    }

    /** The call as it came: the client, trace context and certificates among the rest. */
    public Call call() {
        return call;
    }

    /** Who calls. */
    public Optional<Session> session() {
        return Optional.ofNullable(session);
    }

    /** Says who calls, all of it; null says that nobody does. */
    public void setSession(Session who) {
        session = who;
        changed |= Changed.SESSION;
    }

    /** Says who calls, by a key and nothing else. */
    public void authenticate(String key, String alias) {
        setSession(Session.newBuilder().setKeyId(key).setAlias(alias).build());
    }

    /** What an earlier hook left. */
    public Optional<ByteString> value(String name) {
        return Optional.ofNullable(values.get(name));
    }

    /** Leaves bytes, by custom JSON, for later hooks; null takes them away. */
    public void setValue(String name, ByteString data) {
        Value.Builder made = Value.newBuilder().setName(name);
        if (data == null) {
            values.remove(name);
        } else {
            values.put(name, data);
            made.setData(data);
        }
        newValues.put(name, made.build());
        changed |= Changed.VALUES;
    }

    /** Answers at once; in the response phase replaces the reply. The hook goes on, and what is returned is the answer. */
    public Response answer(int status, ByteString body) {
        answered = true;
        response.replace(status, body);
        return response;
    }

    public boolean answered() {
        return answered;
    }

    /** Writes to the gateway's log under the hook's name. */
    public void log(System.Logger.Level level, String message) {
        int number = switch (level) {
            case ALL, TRACE, DEBUG -> -4;
            case INFO -> 0;
            case WARNING -> 4;
            case ERROR, OFF -> 8;
        };
        LogLine line = LogLine.newBuilder().setHook(index).setLevel(number).setMessage(Failure.clip(message)).build();
        synchronized (logs) { // who stops the call reads them
            if (logs.size() < MOST) logs.add(line);
        }
    }

    /** Adds to a counter of the hook's own. */
    public void count(String name, long delta) {
        Counter counter = Counter.newBuilder().setHook(index).setName(name).setDelta(delta).build();
        synchronized (logs) {
            if (counters.size() < MOST) counters.add(counter);
        }
    }

    /** Waits, or throws as soon as nobody waits for the call any more. */
    public void sleep(long millis) throws InterruptedException {
        try {
            throw ended.get(millis, TimeUnit.MILLISECONDS);
        } catch (TimeoutException e) {
            // it has waited
        } catch (ExecutionException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Adds what the hook changed to the effects and returns its bits. */
    int merge(Effects.Builder effects) {
        if ((changed & Changed.SESSION) != 0) {
            if (session == null) effects.clearSession();
            else effects.setSession(session);
            effects.setClearSession(session == null);
        }
        newValues.forEach((name, value) -> {
            for (int i = effects.getValuesCount() - 1; i >= 0; i--) if (effects.getValues(i).getName().equals(name)) effects.removeValues(i);
            effects.addValues(value);
        });
        return changed | request.merge(effects) | response.merge(effects);
    }
}
