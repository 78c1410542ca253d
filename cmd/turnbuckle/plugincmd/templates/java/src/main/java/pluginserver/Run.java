package pluginserver;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Future;
import turnbuckle.plugin.v1.PluginOuterClass;
import turnbuckle.plugin.v1.PluginOuterClass.Binding;
import turnbuckle.plugin.v1.PluginOuterClass.Call;
import turnbuckle.plugin.v1.PluginOuterClass.Effects;
import turnbuckle.plugin.v1.PluginOuterClass.FailureCode;
import turnbuckle.plugin.v1.PluginOuterClass.Field;
import turnbuckle.plugin.v1.PluginOuterClass.HookOutcome;
import turnbuckle.plugin.v1.PluginOuterClass.HookUse;
import turnbuckle.plugin.v1.PluginOuterClass.Phase;
import turnbuckle.plugin.v1.PluginOuterClass.Reply;

/** A call of the hooks of a binding, under way or done. */
public final class Run {
    private final Plugin plugin;
    private final Binding binding;
    private final long id;
    private final long arrived;
    private final Exchange x;
    private final Effects.Builder effects = Effects.newBuilder();
    private final List<HookOutcome> outcomes = new ArrayList<>();
    private RuntimeException error;
    private boolean stopped;
    private int index;
    private long began;
    private long queued;
    Future<?> deadline;

    Run(Plugin plugin, Binding binding, Call call, long arrived) {
        this.plugin = plugin;
        this.binding = binding;
        this.id = call.getId();
        this.arrived = arrived;
        x = new Exchange(binding, call);
    }

    long id() {
        return id;
    }

    /** The exchange, once the hooks have run. */
    public Exchange exchange() {
        return x;
    }

    /** The refusal that ended the call, if one did. */
    public Optional<Refusal> refusal() {
        return error instanceof Refusal refusal ? Optional.of(refusal) : Optional.empty();
    }

    /** Runs the hooks, unless it was stopped before. */
    void start() {
        queued = System.nanoTime() - arrived;
        for (int i = 0; i < binding.getHooksCount(); i++) {
            HookUse use = binding.getHooks(i);
            synchronized (this) {
                if (stopped) return;
                index = i;
                began = System.nanoTime();
                x.begin(i, use.getConfig());
            }
            if (!hook(use.getName())) return;
        }
    }

    /** Runs one hook and reports whether the next is to run. */
    private boolean hook(String name) {
        try {
            Hook found = plugin.find(name, binding.getPhaseValue());
            if (found == null) {
                throw new Failure(FailureCode.FAILURE_CODE_UNIMPLEMENTED, "plugin " + plugin.name() + " has no hook " + name + " in phase " + binding.getPhase());
            }
            found.run(x);
            if (x.invalid() != null) throw x.invalid();
            synchronized (this) {
                if (stopped) return false;
                outcome(x.merge(effects));
            }
            return !x.answered() || binding.getPhase() == Phase.PHASE_RESPONSE;
        } catch (Throwable thrown) { // a hook may throw anything, and the server serves on
            synchronized (this) {
                if (stopped) return false;
                error = thrown instanceof Refusal refusal ? checked(refusal) : Failure.of(thrown);
                outcome(0);
            }
            return false;
        }
    }

    private static RuntimeException checked(Refusal refusal) {
        Failure[] broken = new Failure[1];
        Headers lines = new Headers(List.of(), why -> broken[0] = Failure.broken(why));
        refusal.headers.forEach(h -> lines.add(h.getKey(), h.getValue()));
        if (refusal.status < 400 || refusal.status > 599) return Failure.broken("refusal with status " + refusal.status + ": want 400 to 599");
        return broken[0] != null ? broken[0] : refusal;
    }

    private void outcome(int changed) {
        outcomes.add(HookOutcome.newBuilder().setHook(index).setDurationUs((System.nanoTime() - began) / 1000).setChanged(changed).build());
    }

    /** Ends it from outside: what its hook does from here on, nobody hears. Reports whether it was under way. */
    synchronized boolean stop(FailureCode code, String message) {
        if (stopped) return false;
        stopped = true;
        Failure why = new Failure(code, message);
        error = why;
        if (began != 0) outcome(0);
        x.ended.complete(why);
        return true;
    }

    /** Takes the right to reply: who runs it gets it, or who stops it. */
    synchronized boolean claim() {
        if (stopped) return false;
        stopped = true;
        return true;
    }

    synchronized Reply reply() {
        Reply.Builder made = Reply.newBuilder().setId(id).addAllOutcomes(outcomes).setQueuedUs(queued / 1000);
        synchronized (x.logs) {
            made.addAllLogs(List.copyOf(x.logs)).addAllCounters(List.copyOf(x.counters));
        }
        Effects all = effects.build();
        if (all.getSerializedSize() > 0) made.setEffects(all);
        if (error instanceof Refusal refusal) {
            var e = PluginOuterClass.Error.newBuilder().setStatus(refusal.status).setMessage(Failure.clip(String.valueOf(refusal.getMessage())));
            refusal.headers.forEach(h -> e.addHeaders(Field.newBuilder().setName(h.getKey()).setValue(Text.bytes(h.getValue()))));
            made.setError(e);
        } else if (error instanceof Failure failure) {
            made.setFailure(PluginOuterClass.Failure.newBuilder().setCode(failure.code).setMessage(failure.getMessage()));
        }
        return made.build();
    }
}
