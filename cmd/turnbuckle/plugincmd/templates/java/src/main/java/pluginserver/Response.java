package pluginserver;

import com.google.protobuf.ByteString;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;
import turnbuckle.plugin.v1.PluginOuterClass;
import turnbuckle.plugin.v1.PluginOuterClass.Effects;

/** The reply: the upstream's in the response phase, a hook's answer once there is one. */
public final class Response {
    private final Consumer<String> broken;
    private Headers headers;
    private int status;
    private ByteString body;
    private boolean answer;
    private int changed;

    Response(PluginOuterClass.Response reply, Consumer<String> broken) {
        this.broken = broken;
        status = reply.getStatus();
        headers = new Headers(reply.getHeadersList(), broken);
        body = reply.hasBody() ? reply.getBody() : null;
    }

    public Headers headers() {
        return headers;
    }

    /** 0 while there is no reply. */
    public int status() {
        return status;
    }

    public void setStatus(int number) {
        if (number < 200 || number > 599) {
            broken.accept("status " + number + ": want 200 to 599");
            return;
        }
        status = number;
        changed |= Changed.STATUS;
    }

    /** The body; absent when it was not sent. */
    public Optional<ByteString> body() {
        return Optional.ofNullable(body);
    }

    public void setBody(ByteString bytes) {
        body = bytes;
        changed |= Changed.RESPONSE_BODY;
    }

    void replace(int number, ByteString bytes) {
        setStatus(number);
        headers = new Headers(List.of(), broken);
        body = bytes;
        answer = true;
        changed = Changed.ANSWER;
    }

    int merge(Effects.Builder effects) {
        var ops = headers.take();
        if (!ops.isEmpty()) changed |= Changed.RESPONSE_HEADER;
        if (answer) { // later changes of an answer are made in it
            effects.setAnswer(PluginOuterClass.Response.newBuilder().setStatus(status).addAllHeaders(headers.fields()).setBody(body));
            effects.clearStatus().clearResponseHeaders().clearResponseBody();
        } else {
            if ((changed & Changed.STATUS) != 0) effects.setStatus(status);
            if ((changed & Changed.RESPONSE_BODY) != 0) effects.setResponseBody(body);
            effects.addAllResponseHeaders(ops);
        }
        int bits = changed;
        changed = 0;
        return bits;
    }
}
