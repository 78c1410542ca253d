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
  var seen = new Set();
  function frozen(o) {
    if (o === null || (typeof o !== "object" && typeof o !== "function") || o === globalThis || seen.has(o)) { return; }
    seen.add(o);
    Object.freeze(o);
    var keys = Reflect.ownKeys(o);
    for (var i = 0; i < keys.length; i++) {
      var p = Object.getOwnPropertyDescriptor(o, keys[i]);
      if ("value" in p) { frozen(p.value); } else { frozen(p.get); frozen(p.set); }
    }
    frozen(Object.getPrototypeOf(o));
  }
  for (var i = 0; i < overridden.length; i++) {
    for (var j = 0; j < overridden[i][1].length; j++) { assignable(overridden[i][0], overridden[i][1][j]); }
  }
  frozen(builtins);
  frozen(Object.getPrototypeOf([][Symbol.iterator]()));
  frozen(Object.getPrototypeOf(""[Symbol.iterator]()));
  frozen(Object.getPrototypeOf(new Map()[Symbol.iterator]()));
  frozen(Object.getPrototypeOf(new Set()[Symbol.iterator]()));
  frozen(Object.getPrototypeOf(function* () {}));
  frozen(Object.getPrototypeOf(async function () {}));
})
