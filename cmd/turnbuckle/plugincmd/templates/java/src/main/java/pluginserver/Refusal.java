package pluginserver;

import java.util.List;
import java.util.Map;

/** Ends a request on purpose, with a status from 400 to 599: the only text of a plugin that a client reads. */
public final class Refusal extends RuntimeException {
    final int status;
    final List<Map.Entry<String, String>> headers;

    public Refusal(int status, String message) {
        this(status, message, List.of());
    }

    public Refusal(int status, String message, List<Map.Entry<String, String>> headers) {
        super(message, null, false, false);
        this.status = status;
        this.headers = List.copyOf(headers);
    }
}
