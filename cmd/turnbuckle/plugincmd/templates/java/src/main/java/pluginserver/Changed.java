package pluginserver;

/** The bits of HookOutcome.changed. */
final class Changed {
    static final int METHOD = 1, PATH = 2, QUERY = 4, HEADER = 8, BODY = 16, SESSION = 32, VALUES = 64, STATUS = 128, RESPONSE_HEADER = 256, RESPONSE_BODY = 512, ANSWER = 1024;

    private Changed() {}
}
