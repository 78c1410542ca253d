function setHeader(request, session, spec)
  tyk.req.set_header("X-Bench", "1")
  return request, session
end
