package pluginserver;

import turnbuckle.plugin.v1.PluginOuterClass.FailureCode;

/** Why a hook gave no result. */
final class Failure extends RuntimeException {
    private static final int LONGEST = 4096; // bytes that a host takes
    final FailureCode code;

    Failure(FailureCode code, String message) {
        super(message, null, false, false);
        this.code = code;
    }

    /** What a hook threw, as the failure that the host is told. */
    static Failure of(Throwable thrown) {
        return thrown instanceof Failure failure ? failure : new Failure(FailureCode.FAILURE_CODE_FAILED, clip(thrown.toString()));
    }

    static Failure broken(String message) {
        return new Failure(FailureCode.FAILURE_CODE_PROTOCOL, message);
    }

    static String clip(String text) {
        return text.length() <= LONGEST / 3 ? text : text.substring(0, LONGEST / 3); // 3 bytes for a char at most
    }
}
