(function (builtins) {
  "use strict";
  // A property that is frozen in a prototype cannot be assigned to in an object that inherits it. Where scripts do that,
  // as they do with toString, the property becomes an accessor whose setter makes an own property.
  var overridden = [
    [Object.prototype, ["constructor", "hasOwnProperty", "isPrototypeOf", "toString", "toLocaleString", "valueOf"]],
    [Function.prototype, ["constructor", "apply", "bind", "call", "name", "toString"]],
    [Array.prototype, ["constructor", "toString", "push", "concat"]],
    [Error.prototype, ["constructor", "message", "name", "toString"]],
    [TypeError.prototype, ["constructor", "message", "name"]],
    [RangeError.prototype, ["constructor", "message", "name"]],
    [Date.prototype, ["toString", "toJSON", "valueOf"]]
  ];
  function assignable(holder, name) {
    var p = Object.getOwnPropertyDescriptor(holder, name);
    if (!p || !p.configurable || !("value" in p)) { return; }
    var value = p.value;
    Object.defineProperty(holder, name, {
      configurable: false, enumerable: p.enumerable,
      get: function () { return value; },
      set: function (v) {
        if (this === holder || this === undefined || this === null) { throw new TypeError("Cannot assign to a built-in's " + name); }
        Object.defineProperty(this, name, { value: v, writable: true, enumerable: true, configurable: true });
      }
    });
  }
  // Constructors, prototypes and the objects of functions like Math; not the functions in them, of which there are many
  // and which nobody writes to.
  function container(o) {
    if (o === null || (typeof o !== "object" && typeof o !== "function") || o === globalThis || Object.isFrozen(o)) { return; }
    Object.freeze(o);
    if (typeof o === "function" && o.prototype) { container(o.prototype); }
    if (typeof o === "object") { container(Object.getPrototypeOf(o)); }
  }
  for (var i = 0; i < overridden.length; i++) {
    for (var j = 0; j < overridden[i][1].length; j++) { assignable(overridden[i][0], overridden[i][1][j]); }
  }
  var names = Reflect.ownKeys(builtins);
  for (i = 0; i < names.length; i++) {
    var p = Object.getOwnPropertyDescriptor(builtins, names[i]);
    if ("value" in p) { container(p.value); }
  }
  container(Object.getPrototypeOf(Uint8Array));
  container(Object.getPrototypeOf([][Symbol.iterator]()));
  container(Object.getPrototypeOf(""[Symbol.iterator]()));
  container(Object.getPrototypeOf(new Map()[Symbol.iterator]()));
  container(Object.getPrototypeOf(new Set()[Symbol.iterator]()));
  container(Object.getPrototypeOf(function* () {}));
  container(Object.getPrototypeOf(async function () {}));
  Object.freeze(builtins);
})
