package pluginserver;

/** What a hook does. It is called in many threads at once, and may take its time: it holds no other call. */
@FunctionalInterface
public interface Hook {
    void run(Exchange x) throws Exception;
}
