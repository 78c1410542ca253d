package example;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.protobuf.ByteString;
import java.security.MessageDigest;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Deque;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import pluginserver.Exchange;
import pluginserver.Headers;
import pluginserver.Plugin;
import pluginserver.Plugin.Need;
import pluginserver.Refusal;
import pluginserver.Response;
import pluginserver.Server;
import turnbuckle.plugin.v1.PluginOuterClass.Phase;
import turnbuckle.plugin.v1.SessionOuterClass.Session;

/** The hooks of proto/CONFORMANCE.md: what `turnbuckle plugin conform` calls. */
final class Conformance {
    private static final Deque<String> records = new ArrayDeque<>();
    private static final Deque<String> events = new ArrayDeque<>();

    public static void main(String[] args) throws Exception {
        Plugin plugin = new Plugin("conformance", "1.0.0");
        var everything = new java.util.HashSet<>(Plugin.DEFAULT);
        everything.addAll(Set.of(Need.BODY, Need.RESPONSE_BODY, Need.PEER));
        plugin.hook("Conform", Phase.PHASE_UNSPECIFIED, everything, Conformance::run);
        plugin.hook("ConformNarrow", Phase.PHASE_PRE, Plugin.needsOf(Set.of(Need.HEADERS)).addHeaderNames("X-One").setBodyLimit(1024).build(), Conformance::run);
        plugin.hook("ConformPick", Phase.PHASE_POST, Plugin.DEFAULT, x -> x.request().headers().set("X-Picked", "post"));
        plugin.hook("ConformPick", Phase.PHASE_UNSPECIFIED, Plugin.DEFAULT, x -> x.request().headers().set("X-Picked", "any"));
        plugin.observer("ConformWatch", (r, e) -> {
            synchronized (records) {
                r.forEach(record -> keep(records, record.getRequestId()));
                e.forEach(event -> keep(events, event.getType()));
            }
        });
        Server.main(plugin, args);
    }

    private static void keep(Deque<String> list, String one) {
        list.add(one);
        if (list.size() > 100) list.remove();
    }

    private static void run(Exchange x) throws Exception {
        JsonElement steps = x.config().get("steps");
        if (steps == null || steps.isJsonNull()) return;
        for (JsonElement step : steps.getAsJsonArray()) change(x, step.getAsJsonObject());
    }

    private static void change(Exchange x, JsonObject s) throws Exception {
        boolean response = text(s, "of").equals("response");
        Headers headers = response ? x.response().headers() : x.request().headers();
        switch (text(s, "do")) {
            case "set_header" -> headers.set(text(s, "name"), value(s));
            case "add_header" -> headers.add(text(s, "name"), value(s));
            case "del_header" -> headers.remove(text(s, "name"));
            case "set_method" -> x.request().setMethod(text(s, "value"));
            case "set_path" -> x.request().setPath(text(s, "value"));
            case "set_query" -> x.request().query().setRaw(text(s, "value"));
            case "set_param" -> x.request().query().set(text(s, "name"), text(s, "value"));
            case "add_param" -> x.request().query().add(text(s, "name"), text(s, "value"));
            case "del_param" -> x.request().query().remove(text(s, "name"));
            case "set_status" -> x.response().setStatus(s.get("status").getAsInt());
            case "set_body" -> {
                ByteString body = repeated(value(s), s.has("repeat") ? s.get("repeat").getAsInt() : 1);
                if (response) x.response().setBody(body);
                else x.request().setBody(body);
            }
            case "answer" -> {
                Response answer = x.answer(s.get("status").getAsInt(), value(s));
                lines(s).forEach(l -> answer.headers().add(l.getKey(), l.getValue()));
            }
            case "refuse" -> throw new Refusal(s.get("status").getAsInt(), text(s, "message"), lines(s));
            case "report" -> report(x, s);
            default -> state(x, s);
        }
    }

    /** The steps that concern more than the messages. */
    private static void state(Exchange x, JsonObject s) throws Exception {
        switch (text(s, "do")) {
            case "authenticate" -> x.authenticate(text(s, "key"), text(s, "alias"));
            case "set_session" -> x.setSession(session(s.getAsJsonObject("session")));
            case "clear_session" -> x.setSession(null);
            case "set_value" -> x.setValue(text(s, "name"), value(s));
            case "del_value" -> x.setValue(text(s, "name"), null);
            case "log" -> x.log(System.Logger.Level.valueOf(text(s, "level").toUpperCase().replaceFirst("^WARN$", "WARNING")), text(s, "message"));
            case "count" -> x.count(text(s, "name"), s.get("delta").getAsLong());
            case "sleep" -> x.sleep(s.get("ms").getAsLong());
            case "fail" -> throw new IllegalStateException(text(s, "message"));
            case "crash" -> throw new StackOverflowError(text(s, "message"));
            default -> throw new IllegalArgumentException("unknown step " + text(s, "do")) { // without the name of its class
                @Override
                public String toString() {
                    return getMessage();
                }
            };
        }
    }

    private static ByteString repeated(ByteString once, int times) {
        ByteString.Output out = ByteString.newOutput(once.size() * times);
        byte[] bytes = once.toByteArray();
        for (int i = 0; i < times; i++) out.write(bytes, 0, bytes.length);
        return out.toByteString();
    }

    private static String text(JsonObject s, String name) {
        return s.has(name) && !s.get(name).isJsonNull() ? s.get(name).getAsString() : "";
    }

    private static ByteString value(JsonObject s) {
        return s.has("value64") ? ByteString.copyFrom(Base64.getDecoder().decode(text(s, "value64"))) : ByteString.copyFromUtf8(text(s, "value"));
    }

    private static List<Map.Entry<String, String>> lines(JsonObject s) {
        List<Map.Entry<String, String>> all = new ArrayList<>();
        if (s.has("headers") && !s.get("headers").isJsonNull()) {
            s.getAsJsonArray("headers").forEach(l -> all.add(Map.entry(l.getAsJsonArray().get(0).getAsString(), l.getAsJsonArray().get(1).getAsString())));
        }
        return all;
    }

    private static Session session(JsonObject s) {
        Session.Builder made = Session.newBuilder().setKeyId(text(s, "key_id")).setAlias(text(s, "alias")).setOrgId(text(s, "org_id"))
            .setRate(s.get("rate").getAsDouble()).setQuotaMax(s.get("quota_max").getAsLong());
        if (s.get("tags").isJsonArray()) s.getAsJsonArray("tags").forEach(t -> made.addTags(t.getAsString()));
        if (s.get("metadata").isJsonObject()) s.getAsJsonObject("metadata").entrySet().forEach(e -> made.putMetadata(e.getKey(), e.getValue().getAsString()));
        return made.build();
    }

    private static void report(Exchange x, JsonObject s) throws Exception {
        JsonObject r = new JsonObject();
        r.addProperty("phase", x.phase().name().substring("PHASE_".length()).toLowerCase());
        var q = x.request();
        Map.of("method", q.method(), "path", q.path(), "query", q.query().raw(), "uri", q.uri(), "scheme", q.scheme(), "host", q.host(), "proto", q.proto(),
            "request_id", x.call().getRequestId()).forEach(r::addProperty);
        String client = x.call().getClient();
        int colon = Math.max(client.lastIndexOf(':'), 0);
        r.addProperty("client", client.substring(0, colon).replaceAll("[\\[\\]]", ""));
        r.addProperty("client_port", colon == 0 ? 0 : Integer.parseInt(client.substring(colon + 1)));
        r.add("headers", headers(q.headers()));
        r.addProperty("length", q.length());
        r.add("body", base64(q.body()));
        r.add("param_q", list(q.query().all("q")));
        r.add("route", object("id", x.route().getId(), "name", x.route().getName(), "org", x.route().getOrg(), "listen_path", x.route().getListenPath(), "bundle", x.route().getBundle()));
        r.add("note", x.config().has("note") ? x.config().get("note") : JsonNull.INSTANCE);
        r.add("trace", object("parent", x.call().getTraceparent(), "state", x.call().getTracestate()));
        if (x.call().getPeerCertificatesCount() > 0) {
            r.addProperty("peer", HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(x.call().getPeerCertificates(0).toByteArray())));
        }
        x.session().ifPresent(session -> r.add("session", session(session)));
        JsonObject values = new JsonObject();
        if (s.has("values") && s.get("values").isJsonArray()) s.getAsJsonArray("values").forEach(v -> values.add(v.getAsString(), base64(x.value(v.getAsString()))));
        r.add("values", values);
        if (x.response().status() != 0) {
            JsonObject reply = new JsonObject();
            reply.addProperty("status", x.response().status());
            reply.add("headers", headers(x.response().headers()));
            reply.add("body", base64(x.response().body()));
            r.add("response", reply);
        }
        JsonObject observed = new JsonObject();
        synchronized (records) {
            observed.add("records", list(records));
            observed.add("events", list(events));
        }
        r.add("observed", observed);
        x.answer(200, ByteString.copyFromUtf8(r.toString())).headers().set("Content-Type", "application/json");
    }

    private static JsonObject session(Session session) {
        JsonObject o = object("key_id", session.getKeyId(), "alias", session.getAlias(), "org_id", session.getOrgId());
        o.addProperty("rate", session.getRate());
        o.addProperty("quota_max", session.getQuotaMax());
        o.add("tags", list(session.getTagsList()));
        JsonObject metadata = new JsonObject();
        session.getMetadataMap().forEach(metadata::addProperty);
        o.add("metadata", metadata);
        return o;
    }

    private static JsonElement base64(Optional<ByteString> bytes) {
        return bytes.<JsonElement>map(b -> new com.google.gson.JsonPrimitive(Base64.getEncoder().encodeToString(b.toByteArray()))).orElse(JsonNull.INSTANCE);
    }

    private static JsonArray headers(Headers headers) {
        JsonArray all = new JsonArray();
        headers.lines().forEach(l -> all.add(list(List.of(l.getKey(), Base64.getEncoder().encodeToString(l.getValue().toByteArray())))));
        return all;
    }

    private static JsonArray list(Iterable<String> items) {
        JsonArray all = new JsonArray();
        items.forEach(all::add);
        return all;
    }

    private static JsonObject object(String... pairs) {
        JsonObject o = new JsonObject();
        for (int i = 0; i < pairs.length; i += 2) o.addProperty(pairs[i], pairs[i + 1]);
        return o;
    }
}
