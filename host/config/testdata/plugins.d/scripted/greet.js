exports.greet = function (x) {
  x.request.headers.set("X-Greeting", "hello");
};
