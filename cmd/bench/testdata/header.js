exports.pre = function (x) {
  x.request.headers.set("X-Bench", "1");
};
