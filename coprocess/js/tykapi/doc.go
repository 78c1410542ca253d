// Package tykapi is the interface that Tyk's JavaScript plugins are written against (reference §4): TykJS and the global
// functions, the objects that a hook is given, and what comes of those it returns. It is written from what Tyk's
// documentation says of it.
//
// The objects are made of the live exchange as scripts look at them, not of JSON text; what a hook returns is read from
// the objects, by the rules of the JSON that Tyk would make of them. Bytes that are no UTF-8 come through, which they do
// not in Tyk.
package tykapi
