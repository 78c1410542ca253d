exports.greet = function (x) {
  x.request.headers.set("X-Greeting", "hello");
};
exports.observers = {
  count(batch) {
    store.incr("requests", batch.records.length);
  },
};
