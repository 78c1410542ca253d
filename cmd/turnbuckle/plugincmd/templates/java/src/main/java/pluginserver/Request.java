package pluginserver;

import com.google.protobuf.ByteString;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import turnbuckle.plugin.v1.PluginOuterClass.Call;
import turnbuckle.plugin.v1.PluginOuterClass.Effects;

/** The request as the hooks before left it. */
public final class Request {
    private static final Pattern PATH = Pattern.compile("/(?:[^\\x00-\\x20\\x7f?#%]|%[0-9a-fA-F]{2})*");
    private final Call call;
    private final Consumer<String> broken;
    private final Headers headers;
    private final Query query;
    private String method;
    private String path;
    private ByteString body;
    private int changed;

    Request(Call call, Consumer<String> broken) {
        this.call = call;
        this.broken = broken;
        method = Text.of(call.getMethod());
        path = Text.of(call.getPath());
        body = call.hasBody() ? call.getBody() : null;
        headers = new Headers(call.getHeadersList(), broken);
        query = new Query(Text.of(call.getQuery()), broken);
    }

    public Headers headers() {
        return headers;
    }

    public Query query() {
        return query;
    }

    public String method() {
        return method;
    }

    public void setMethod(String text) {
        if (!Headers.TOKEN.matcher(text).matches()) {
            broken.accept("method \"" + text + "\": want a token (RFC 9110 9.1)");
            return;
        }
        method = text;
        changed |= Changed.METHOD;
    }

    /** The path with its escapes as they came, the listen path in it. */
    public String path() {
        return path;
    }

    public void setPath(String text) {
        if (!PATH.matcher(text).matches()) {
            broken.accept("path \"" + text + "\": it begins with a slash; blanks, ? and # are escaped");
            return;
        }
        path = text;
        changed |= Changed.PATH;
    }

    /** The request target as the client sent it. */
    public String uri() {
        if (!call.getUri().isEmpty()) return Text.of(call.getUri());
        return call.getQuery().isEmpty() ? Text.of(call.getPath()) : Text.of(call.getPath()) + "?" + Text.of(call.getQuery());
    }

    public String scheme() {
        return Text.of(call.getScheme());
    }

    public String host() {
        return Text.of(call.getHost());
    }

    public String proto() {
        return Text.of(call.getProto());
    }

    /** The body; absent when it was not sent, which is so unless the hook needs it. */
    public Optional<ByteString> body() {
        return Optional.ofNullable(body);
    }

    public void setBody(ByteString bytes) {
        body = bytes;
        changed |= Changed.BODY;
    }

    /** Of the body, in bytes; -1 when unknown. */
    public long length() {
        return body != null ? body.size() : call.getLength();
    }

    /** Adds what changed to the effects and returns its bits. */
    int merge(Effects.Builder effects) {
        if ((changed & Changed.METHOD) != 0) effects.setMethod(Text.bytes(method));
        if ((changed & Changed.PATH) != 0) effects.setPath(Text.bytes(path));
        if ((changed & Changed.BODY) != 0) effects.setBody(body);
        if (query.take()) {
            effects.setQuery(Text.bytes(query.raw()));
            changed |= Changed.QUERY;
        }
        var ops = headers.take();
        if (!ops.isEmpty()) changed |= Changed.HEADER;
        effects.addAllHeaders(ops);
        int bits = changed;
        changed = 0;
        return bits;
    }
}
