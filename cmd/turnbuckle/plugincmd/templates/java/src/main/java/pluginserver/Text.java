package pluginserver;

import com.google.protobuf.ByteString;
import java.nio.charset.StandardCharsets;

/** Text and bytes. HTTP does not promise UTF-8: what is none is read as if it were ISO 8859-1. */
final class Text {
    private Text() {}

    static String of(ByteString bytes) {
        return bytes.isValidUtf8() ? bytes.toStringUtf8() : bytes.toString(StandardCharsets.ISO_8859_1);
    }

    static ByteString bytes(String text) {
        return ByteString.copyFromUtf8(text);
    }
}
