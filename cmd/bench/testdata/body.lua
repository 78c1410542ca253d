exports.hooks = { response = { needs = { "response_body" } } }
function exports.response(x)
  x.response:setBody((x.response:text():gsub("turnbuckle", "rewritten!", 1)))
end
