package example;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonParser;
import com.google.protobuf.ByteString;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import pluginserver.Run;
import turnbuckle.plugin.v1.PluginOuterClass.Call;
import turnbuckle.plugin.v1.PluginOuterClass.Field;
import turnbuckle.plugin.v1.PluginOuterClass.Phase;
import turnbuckle.plugin.v1.PluginOuterClass.Response;

/** What the hooks do, with no gateway. */
class GatekeeperTest {
    private static Run run(String hook, Phase phase, Call.Builder call) {
        var config = JsonParser.parseString("{\"keys\": {\"sesame\": \"ali\"}}").getAsJsonObject();
        return Gatekeeper.plugin().run(hook, phase, config, call.setId(1).build());
    }

    private static Call.Builder call(String method, String path) {
        return Call.newBuilder().setMethod(ByteString.copyFromUtf8(method)).setPath(ByteString.copyFromUtf8(path)).setHost(ByteString.copyFromUtf8("example.test"));
    }

    private static Field field(String name, String value) {
        return Field.newBuilder().setName(name).setValue(ByteString.copyFromUtf8(value)).build();
    }

    @Test
    void welcomeGreetsAndAnswersTeapots() {
        var x = run("Welcome", Phase.PHASE_PRE, call("GET", "/native/x").addHeaders(field("X-Remove", "me"))).exchange();
        assertEquals(Optional.of("hello example.test"), x.request().headers().get("X-Greeting"));
        assertEquals(Optional.empty(), x.request().headers().get("X-Remove"));
        var tea = run("Welcome", Phase.PHASE_PRE, call("GET", "/native/teapot")).exchange();
        assertTrue(tea.answered());
        assertEquals(418, tea.response().status());
    }

    @Test
    void checkKeyKnowsTheKeysOfItsConfiguration() {
        var known = run("CheckKey", Phase.PHASE_AUTH, call("GET", "/").addHeaders(field("Authorization", "sesame")));
        assertEquals("ali", known.exchange().session().orElseThrow().getAlias());
        var unknown = run("CheckKey", Phase.PHASE_AUTH, call("GET", "/").addHeaders(field("Authorization", "guess")));
        assertEquals("unknown key", unknown.refusal().orElseThrow().getMessage());
    }

    @Test
    void signSignsText() {
        var reply = Response.newBuilder().setStatus(200).addHeaders(field("Content-Type", "text/plain")).setBody(ByteString.copyFromUtf8("plain\n"));
        var x = run("Sign", Phase.PHASE_RESPONSE, call("PUT", "/").setResponse(reply)).exchange();
        assertEquals(201, x.response().status());
        assertEquals("plain\nsigned\n", x.response().body().orElseThrow().toStringUtf8());
    }
}
