-- The doorman of a small shop's API: a hook in every phase, and an observer. What a script can do:
-- coprocess/script/API.md.

local plans = require("lib.plans")

exports.version = "1.0.0"

-- What the hooks are configured with. A definition that does not keep to it is refused.
exports.config_schema = [[{
  "type": "object",
  "properties": {
    "tokens": {"type": "object", "additionalProperties": {"type": "object", "required": ["name"]}},
    "maintenance": {"type": "boolean"},
    "strip_version": {"type": "string"},
    "secret": {"type": "string"}
  },
  "additionalProperties": false
}]]

-- What a hook does not ask for it does not get; a body is buffered only for those that need it.
exports.hooks = {
  post = { needs = { "default", "body" }, body_limit = 1048576 },
  response = { needs = { "default", "response_body" } },
}

-- Answers …/healthz itself, and everything while there is maintenance; marks other requests.
function exports.pre(x)
  if x.request.path:match("/healthz$") then
    x:answer(200, { ["Content-Type"] = "text/plain" }, "open\n")
    return
  end
  if x.config.maintenance then
    x:refuse(503, "the shop is closed for an hour", { ["Retry-After"] = "3600" })
  end
  x.request.headers:set("X-Shop-Request", x.request_id)
end

-- Lets callers in by bearer token.
function exports.auth(x)
  local token = (x.request.headers:get("Authorization") or ""):match("^Bearer (.+)$")
  if not token then
    x:refuse(401, "a bearer token is needed", { ["WWW-Authenticate"] = "Bearer" })
  end
  local caller = x.config.tokens[token]
  if not caller then
    log.warn("unknown token " .. crypto.sha256(token):sub(1, 8))
    x:count("unknown_tokens")
    x:refuse(403, "this token opens nothing")
  end
  x:authenticate(token, caller.name)
  x:setValue("plan", caller.plan or "basic")
end

-- Tells the upstream who calls, and keeps the token from it.
function exports.post_key_auth(x)
  x.request.headers:del("Authorization")
  x.request.headers:set("X-Shop-Caller", x.session.alias)
  x.request.headers:set("X-Shop-Plan", x:value("plan"))
end

-- Takes the version off the path, numbers the caller's requests of the day, and writes into orders who made them.
function exports.post(x)
  local version = x.config.strip_version
  if version then
    local from, to = x.request.path:find(version .. "/", 1, true)
    if from then
      x.request.path = x.request.path:sub(1, from) .. x.request.path:sub(to + 1)
    end
  end
  x.request.query:del("debug")
  local day = math.floor(now() / 86400)
  local nth = store.incr("requests/" .. x.session.alias .. "/" .. day, 1, 2 * 86400)
  x.request.headers:set("X-Shop-Nth", tostring(nth))
  if x.request.method == "POST" and plans.is_json(x.request.headers) then
    local order = x.request:json()
    order.caller = x.session.alias
    order.discount = plans.discount(x:value("plan"))
    x.request:setBody(json.encode(order))
  end
end

-- Signs replies, and says in those that are JSON objects what the caller's plan is.
function exports.response(x)
  local reply = x.response
  if plans.is_json(reply.headers) and reply.status == 200 then
    local object = reply:json()
    if type(object) == "table" and #object == 0 then
      object.plan = x:value("plan")
      reply:setBody(json.encode(object))
    end
  end
  reply.headers:set("X-Shop-Signature", crypto.hmac("sha256", x.config.secret, reply:bytes(), "base64"))
end

-- Observers get what has ended, in batches, off the requests' path.
exports.observers = {
  traffic = function(batch)
    local failed = 0
    for _, r in ipairs(batch.records) do
      if r.status >= 500 then
        failed = failed + 1
        log.error(r.method .. " " .. r.path .. ": " .. r.status .. " " .. r.error)
      end
    end
    if #batch.records > 0 then
      log.info("replies: " .. #batch.records .. ", failed: " .. failed)
    end
  end,
}
