-- Hooks written for Tyk's Lua driver: global functions of three arguments, named by the definition.

-- Refuses what has no client, marks the rest.
function Greet(request, session, spec)
  if not request.headers["X-Client"] then
    request.return_overrides.response_code = 400
    request.return_overrides.response_error = "X-Client is missing"
    return request, session
  end
  tyk.req.set_header("X-Greeting", "hello " .. request.headers["X-Client"])
  tyk.req.clear_header("X-Remove")
  return request, session
end

-- Lets callers in by a key of the configuration.
function CheckKey(request, session, metadata, spec)
  local keys = cjson.decode(spec.config_data).keys
  local key = request.headers["Authorization"]
  local alias = key and keys[key]
  if not alias then
    request.return_overrides.response_code = 401
    request.return_overrides.response_error = "unknown key"
    return request, session, metadata
  end
  metadata.token = key
  metadata.plan = "gold"
  return request, { alias = alias, rate = 1000, per = 1, quota_max = -1, last_updated = "1" }, metadata
end

-- Tells the upstream who calls.
function Tell(request, session, spec)
  request.set_headers["X-Alias"] = session.alias
  request.set_headers["X-Plan"] = session.metadata.plan
  request.delete_headers = { "Authorization" }
  request.add_params.api = spec.APIID
  return request, session
end
