package pluginserver;

import com.google.protobuf.ByteString;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;

/** The query of a request: pairs in order. Those that nobody changes keep their bytes, whatever escapes they use. */
public final class Query {
    private String raw;
    private final Consumer<String> broken;
    private boolean edited;

    Query(String raw, Consumer<String> broken) {
        this.raw = raw;
        this.broken = broken;
    }

    /** What stands behind the question mark. */
    public String raw() {
        return raw;
    }

    public void setRaw(String text) {
        if (text.chars().anyMatch(c -> c <= ' ' || c == 0x7f || c == '#')) {
            broken.accept("query \"" + text + "\": want no blanks, control characters or #");
            return;
        }
        keep(text);
    }

    public Optional<String> get(String name) {
        return all(name).stream().findFirst();
    }

    public List<String> all(String name) {
        return parts().stream().filter(p -> name(p).equals(name)).map(p -> unescape(p.contains("=") ? p.substring(p.indexOf('=') + 1) : "")).toList();
    }

    /** Replaces all pairs of the name by one, in the place of the first. */
    public void set(String name, String value) {
        List<String> parts = parts();
        int at = 0;
        while (at < parts.size() && !name(parts.get(at)).equals(name)) at++;
        parts.removeIf(p -> name(p).equals(name));
        parts.add(at, pair(name, value));
        keep(String.join("&", parts));
    }

    public void add(String name, String value) {
        List<String> parts = parts();
        parts.add(pair(name, value));
        keep(String.join("&", parts));
    }

    public void remove(String name) {
        List<String> parts = parts();
        if (parts.removeIf(p -> name(p).equals(name))) keep(String.join("&", parts));
    }

    /** Whether it was changed since it was last asked. */
    boolean take() {
        boolean taken = edited;
        edited = false;
        return taken;
    }

    private void keep(String text) {
        raw = text;
        edited = true;
    }

    private List<String> parts() {
        List<String> parts = new ArrayList<>(Arrays.asList(raw.split("&")));
        parts.removeIf(String::isEmpty);
        return parts;
    }

    private static String name(String part) {
        return unescape(part.contains("=") ? part.substring(0, part.indexOf('=')) : part);
    }

    private static String pair(String name, String value) {
        return URLEncoder.encode(name, StandardCharsets.UTF_8) + "=" + URLEncoder.encode(value, StandardCharsets.UTF_8);
    }

    /** Text whose escapes are broken stays as it is. */
    private static String unescape(String text) {
        byte[] in = text.replace('+', ' ').getBytes(StandardCharsets.UTF_8);
        ByteString.Output out = ByteString.newOutput(in.length);
        for (int i = 0; i < in.length; i++) {
            if (in[i] != '%') {
                out.write(in[i]);
                continue;
            }
            int high = i + 2 < in.length ? Character.digit(in[i + 1], 16) : -1;
            int low = high < 0 ? -1 : Character.digit(in[i + 2], 16);
            if (low < 0) return text;
            out.write(high << 4 | low);
            i += 2;
        }
        return Text.of(out.toByteString());
    }
}
