function exports.auth(x)
  x:authenticate(x.request.headers:get("X-Name") or x:refuse(401, "Who are you?"))
end
