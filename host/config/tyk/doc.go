// Package tyk translates Tyk's classic API definitions into config.Definition.
//
// One table (Fields) says of every classic field whether it works, is ignored, or refuses the
// definition when it asks for something. A field asks when it is present, enabled and not zero.
// What asks for protection, or for a change of traffic, that the gateway does not implement
// refuses the definition: it is never served open or unaltered. Fields that the table does not
// know give warnings.
//
// Keys are compared without regard to case, as encoding/json does for the structs of Tyk.
package tyk
