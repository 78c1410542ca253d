exports.hooks = { response: { needs: ["response_body"] } };
exports.response = function (x) {
  x.response.setBody(x.response.text().replace("turnbuckle", "rewritten!"));
};
