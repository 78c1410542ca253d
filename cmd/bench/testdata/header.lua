function exports.pre(x)
  x.request.headers:set("X-Bench", "1")
end
