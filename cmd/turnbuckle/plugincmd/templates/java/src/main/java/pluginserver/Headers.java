package pluginserver;

import com.google.protobuf.ByteString;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import turnbuckle.plugin.v1.PluginOuterClass.Field;
import turnbuckle.plugin.v1.PluginOuterClass.HeaderOp;
import turnbuckle.plugin.v1.PluginOuterClass.HeaderOpKind;

/** Header lines in order. Names compare without case. Changes are noted for the gateway. */
public final class Headers {
    static final Pattern TOKEN = Pattern.compile("[!#$%&'*+\\-.^_`|~0-9A-Za-z]+");
    private final List<Map.Entry<String, ByteString>> lines = new ArrayList<>();
    private final Consumer<String> broken;
    private List<HeaderOp> ops = new ArrayList<>();

    Headers(List<Field> fields, Consumer<String> broken) {
        fields.forEach(f -> lines.add(Map.entry(f.getName(), f.getValue())));
        this.broken = broken;
    }

    /** The first value. */
    public Optional<String> get(String name) {
        return all(name).stream().findFirst();
    }

    /** All values in order. */
    public List<String> all(String name) {
        return lines.stream().filter(l -> l.getKey().equalsIgnoreCase(name)).map(l -> Text.of(l.getValue())).toList();
    }

    /** Names and values as they travel. */
    public List<Map.Entry<String, ByteString>> lines() {
        return List.copyOf(lines);
    }

    /** Replaces all lines of the name by one, in the place of the first. */
    public void set(String name, String value) {
        set(name, Text.bytes(value));
    }

    public void set(String name, ByteString value) {
        if (!note(HeaderOpKind.HEADER_OP_KIND_SET, name, value)) return;
        int at = 0;
        while (at < lines.size() && !lines.get(at).getKey().equalsIgnoreCase(name)) at++;
        lines.removeIf(l -> l.getKey().equalsIgnoreCase(name));
        lines.add(at, Map.entry(name, value));
    }

    /** Appends a line. */
    public void add(String name, String value) {
        add(name, Text.bytes(value));
    }

    public void add(String name, ByteString value) {
        if (note(HeaderOpKind.HEADER_OP_KIND_ADD, name, value)) lines.add(Map.entry(name, value));
    }

    /** Removes all lines of the name. */
    public void remove(String name) {
        if (note(HeaderOpKind.HEADER_OP_KIND_DEL, name, ByteString.EMPTY)) lines.removeIf(l -> l.getKey().equalsIgnoreCase(name));
    }

    private boolean note(HeaderOpKind kind, String name, ByteString value) {
        if (!TOKEN.matcher(name).matches()) {
            broken.accept("header name \"" + name + "\": want a token (RFC 9110 5.6.2)");
            return false;
        }
        for (int i = 0; i < value.size(); i++) {
            byte b = value.byteAt(i);
            if (b >= 0 && b < ' ' && b != '\t' || b == 0x7f) {
                broken.accept("value of header " + name + ": want no control characters (RFC 9110 5.5)");
                return false;
            }
        }
        ops.add(HeaderOp.newBuilder().setKind(kind).setName(name).setValue(value).build());
        return true;
    }

    /** The changes since it was last asked. */
    List<HeaderOp> take() {
        List<HeaderOp> taken = ops;
        ops = new ArrayList<>();
        return taken;
    }

    List<Field> fields() {
        return lines.stream().map(l -> Field.newBuilder().setName(l.getKey()).setValue(l.getValue()).build()).toList();
    }
}
