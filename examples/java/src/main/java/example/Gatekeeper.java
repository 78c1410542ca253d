package example;

import com.google.gson.JsonObject;
import com.google.protobuf.ByteString;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import pluginserver.Exchange;
import pluginserver.Plugin;
import pluginserver.Plugin.Need;
import pluginserver.Refusal;
import pluginserver.Server;
import turnbuckle.plugin.v1.PluginOuterClass.Phase;
import turnbuckle.plugin.v1.SessionOuterClass.Session;

/** A plugin with hooks in all phases but one, and an observer. */
public final class Gatekeeper {
    private Gatekeeper() {}

    public static void main(String[] args) throws Exception {
        Server.main(plugin(), args);
    }

    /** Lists the hooks. plugin.yaml says the same to the gateway. */
    static Plugin plugin() {
        return new Plugin("gatekeeper-java", "1.0.0")
            .configSchema("""
                {"type": "object", "additionalProperties": false, "properties": {"keys": {"type": "object", "additionalProperties": {"type": "string"}}}}""")
            .hook("Welcome", Phase.PHASE_PRE, Set.of(Need.HEADERS), Gatekeeper::welcome)
            .hook("CheckKey", Phase.PHASE_AUTH, Plugin.needsOf(Set.of(Need.HEADERS)).addHeaderNames("Authorization").build(), Gatekeeper::checkKey)
            .hook("Tell", Phase.PHASE_POST, Set.of(Need.HEADERS, Need.QUERY, Need.SESSION, Need.BODY), Gatekeeper::tell)
            .hook("Sign", Phase.PHASE_RESPONSE, Set.of(Need.RESPONSE_HEADERS, Need.RESPONSE_BODY), Gatekeeper::sign)
            .observer("Watch", (records, events) -> {
                records.forEach(r -> System.out.println("record " + r.getMethod().toStringUtf8() + " " + r.getPath().toStringUtf8() + " " + r.getStatus() + " " + r.getAlias()));
                events.forEach(e -> System.out.println("event " + e.getType() + " " + e.getRoute()));
            });
    }

    /** Sets a header, waits or answers when it is asked to. */
    private static void welcome(Exchange x) throws InterruptedException {
        x.request().headers().set("X-Greeting", "hello " + x.request().host());
        x.request().headers().remove("X-Remove");
        x.count("welcomed", 1);
        x.sleep(x.request().headers().get("X-Wait").map(Long::valueOf).orElse(0L));
        if (x.request().path().endsWith("/teapot")) {
            var headers = x.answer(418, ByteString.copyFromUtf8("short and stout\n")).headers();
            headers.set("Content-Type", "text/x-tea");
            headers.add("X-Pot", "1");
            headers.add("X-Pot", "2");
        }
        if (x.request().path().endsWith("/broken")) throw new IllegalStateException("a bug in a hook");
    }

    /** Knows the keys of the route's configuration. */
    private static void checkKey(Exchange x) {
        var key = x.request().headers().get("Authorization");
        if (key.isEmpty()) return; // nobody: the gateway refuses
        JsonObject keys = x.config().getAsJsonObject("keys");
        if (keys == null || !keys.has(key.get())) throw new Refusal(403, "unknown key", List.of(Map.entry("X-Reason", "key")));
        x.setSession(Session.newBuilder().setKeyId(key.get()).setAlias(keys.get(key.get()).getAsString()).putMetadata("plan", "gold").build());
    }

    /** Tells the upstream who calls, and changes what it is asked to. */
    private static void tell(Exchange x) {
        var request = x.request();
        x.session().ifPresent(s -> {
            request.headers().set("X-Alias", s.getAlias());
            request.headers().set("X-Plan", s.getMetadataOrDefault("plan", ""));
        });
        request.headers().add("X-Many", "3");
        if (request.path().contains("/old/")) {
            request.setPath(request.path().replace("/old/", "/new/"));
            request.query().set("b", "2");
        }
        if (request.headers().get("X-Edit").equals(Optional.of("append"))) {
            request.setBody(request.body().orElse(ByteString.EMPTY).concat(ByteString.copyFromUtf8("+java")));
        }
    }

    /** Changes header, status and body of the reply. */
    private static void sign(Exchange x) {
        var reply = x.response();
        reply.headers().set("X-Signed", "one");
        reply.headers().add("X-Signed", "two");
        reply.headers().remove("X-Internal");
        if (reply.headers().get("Content-Type").equals(Optional.of("text/plain"))) {
            reply.setBody(reply.body().orElse(ByteString.EMPTY).concat(ByteString.copyFromUtf8("signed\n")));
        }
        if (x.request().method().equals("PUT")) reply.setStatus(201);
    }
}
