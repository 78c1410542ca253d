// The doorman of a small shop's API: a hook in every phase, and an observer. What a script can do:
// coprocess/script/API.md.

const plans = require("./lib/plans");

exports.version = "1.0.0";

// What the hooks are configured with. A definition that does not keep to it is refused.
exports.config_schema = {
  type: "object",
  properties: {
    tokens: { type: "object", additionalProperties: { type: "object", required: ["name"] } },
    maintenance: { type: "boolean" },
    strip_version: { type: "string" },
    secret: { type: "string" },
  },
  additionalProperties: false,
};

// What a hook does not ask for it does not get; a body is buffered only for those that need it.
exports.hooks = {
  post: { needs: ["default", "body"], body_limit: 1048576 },
  response: { needs: ["default", "response_body"] },
};

// Answers …/healthz itself, and everything while there is maintenance; marks other requests.
exports.pre = function (x) {
  if (x.request.path.endsWith("/healthz")) {
    x.answer(200, { "Content-Type": "text/plain" }, "open\n");
    return;
  }
  if (x.config.maintenance) {
    x.refuse(503, "the shop is closed for an hour", { "Retry-After": "3600" });
  }
  x.request.headers.set("X-Shop-Request", x.request_id);
};

// Lets callers in by bearer token.
exports.auth = function (x) {
  const [, token] = /^Bearer (.+)$/.exec(x.request.headers.get("Authorization") || "") || [];
  if (!token) {
    x.refuse(401, "a bearer token is needed", { "WWW-Authenticate": "Bearer" });
  }
  const caller = Object.hasOwn(x.config.tokens, token) && x.config.tokens[token];
  if (!caller) {
    log.warn("unknown token " + crypto.sha256(token).slice(0, 8));
    x.count("unknown_tokens");
    x.refuse(403, "this token opens nothing");
  }
  x.authenticate(token, caller.name);
  x.setValue("plan", caller.plan || "basic");
};

// Tells the upstream who calls, and keeps the token from it.
exports.post_key_auth = function (x) {
  x.request.headers.del("Authorization");
  x.request.headers.set("X-Shop-Caller", x.session.alias);
  x.request.headers.set("X-Shop-Plan", x.value("plan"));
};

// Takes the version off the path, numbers the caller's requests of the day, and writes into orders who made them.
exports.post = function (x) {
  const version = x.config.strip_version;
  if (version) {
    x.request.path = x.request.path.replace(version + "/", "/");
  }
  x.request.query.del("debug");
  const day = Math.floor(now() / 86400);
  const nth = store.incr("requests/" + x.session.alias + "/" + day, 1, 2 * 86400);
  x.request.headers.set("X-Shop-Nth", String(nth));
  if (x.request.method === "POST" && plans.isJSON(x.request.headers)) {
    const order = x.request.json();
    order.caller = x.session.alias;
    order.discount = plans.discount(x.value("plan"));
    x.request.setBody(JSON.stringify(order));
  }
};

// Signs replies, and says in those that are JSON objects what the caller's plan is.
exports.response = function (x) {
  const reply = x.response;
  if (plans.isJSON(reply.headers) && reply.status === 200) {
    const object = reply.json();
    if (object && !Array.isArray(object)) {
      object.plan = x.value("plan");
      reply.setBody(JSON.stringify(object));
    }
  }
  reply.headers.set("X-Shop-Signature", crypto.hmac("sha256", x.config.secret, reply.bytes(), "base64"));
};

// Observers get what has ended, in batches, off the requests' path.
exports.observers = {
  traffic(batch) {
    const failed = batch.records.filter((r) => r.status >= 500);
    for (const r of failed) {
      log.error(r.method + " " + r.path + ": " + r.status + " " + r.error);
    }
    if (batch.records.length > 0) {
      log.info("replies: " + batch.records.length + ", failed: " + failed.length);
    }
  },
};
