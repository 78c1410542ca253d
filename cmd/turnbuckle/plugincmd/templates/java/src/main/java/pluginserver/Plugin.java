package pluginserver;

import com.google.gson.JsonObject;
import com.google.protobuf.ByteString;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.BiConsumer;
import turnbuckle.plugin.v1.PluginOuterClass;
import turnbuckle.plugin.v1.PluginOuterClass.Binding;
import turnbuckle.plugin.v1.PluginOuterClass.Call;
import turnbuckle.plugin.v1.PluginOuterClass.DescribeReply;
import turnbuckle.plugin.v1.PluginOuterClass.HookUse;
import turnbuckle.plugin.v1.PluginOuterClass.Limits;
import turnbuckle.plugin.v1.PluginOuterClass.Needs;
import turnbuckle.plugin.v1.PluginOuterClass.Phase;
import turnbuckle.plugin.v1.RecordOuterClass.Event;
import turnbuckle.plugin.v1.RecordOuterClass.Record;

/** A plugin: its hooks and observers. Say all of them before it is served. */
public final class Plugin {
    /** What a hook may need to be sent. */
    public enum Need { HEADERS, QUERY, BODY, RESPONSE_HEADERS, RESPONSE_BODY, SESSION, VALUES, PEER, TRACE, NOTHING }

    /** What a hook is sent that does not say what it needs. */
    public static final Set<Need> DEFAULT = Set.of(Need.HEADERS, Need.QUERY, Need.RESPONSE_HEADERS, Need.SESSION, Need.VALUES, Need.TRACE);

    private final String name;
    private final String version;
    private String configSchema = "";
    private final List<PluginOuterClass.Hook> described = new ArrayList<>();
    private final Map<String, Hook> hooks = new HashMap<>();
    private final Map<String, BiConsumer<List<Record>, List<Event>>> observers = new LinkedHashMap<>();

    public Plugin(String name, String version) {
        this.name = name;
        this.version = version;
    }

    /** The JSON Schema of the configuration that the hooks take. */
    public Plugin configSchema(String schema) {
        configSchema = schema;
        return this;
    }

    /** Adds a hook; PHASE_UNSPECIFIED is for any phase. */
    public Plugin hook(String hook, Phase phase, Set<Need> needs, Hook run) {
        return hook(hook, phase, needsOf(needs).build(), run);
    }

    /** Adds a hook that is particular about what it is sent. */
    public Plugin hook(String hook, Phase phase, Needs needs, Hook run) {
        described.add(PluginOuterClass.Hook.newBuilder().setName(hook).setPhase(phase).setNeeds(needs).build());
        hooks.put(phase.getNumber() + hook, run);
        return this;
    }

    /** The message for needs, to narrow it down. */
    public static Needs.Builder needsOf(Set<Need> needs) {
        int fields = 0;
        for (Need need : needs.isEmpty() ? Set.of(Need.NOTHING) : needs) fields |= 1 << need.ordinal();
        return Needs.newBuilder().setFields(fields);
    }

    /** Adds an observer, which is called with one batch at a time. */
    public Plugin observer(String observer, BiConsumer<List<Record>, List<Event>> run) {
        observers.put(observer, run);
        return this;
    }

    /** Runs a hook with no gateway. The call has what the hook sees, the run says what came of it. */
    public Run run(String hook, Phase phase, JsonObject config, Call call) {
        HookUse use = HookUse.newBuilder().setName(hook).setConfig(config == null ? ByteString.EMPTY : Text.bytes(config.toString())).build();
        Run run = new Run(this, Binding.newBuilder().setId(1).setPhase(phase).addHooks(use).build(), call, System.nanoTime());
        run.start();
        return run;
    }

    String name() {
        return name;
    }

    Map<String, BiConsumer<List<Record>, List<Event>>> observers() {
        return observers;
    }

    Hook find(String hook, int phase) {
        return hooks.getOrDefault(phase + hook, hooks.get(0 + hook));
    }

    DescribeReply describe(int frameBytes) {
        return DescribeReply.newBuilder().setName(name).setVersion(version).addAllHooks(described).addAllObservers(observers.keySet())
            .setConfigSchema(Text.bytes(configSchema)).setLimits(Limits.newBuilder().setFrameBytes(frameBytes)).build();
    }
}
