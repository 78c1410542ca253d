// Package host is the gateway itself: it routes a request to the definition that serves it, runs the chain compiled for
// that route, sends the request upstream and the reply back, and swaps all of it for a new set without one failed
// request. It knows definitions, hooks and flows; it knows neither net/http nor how a hook is reached.
//
// A [Gateway] serves flows (see package flow) from one [Table] behind an atomic pointer. A Table holds [Route] values; a
// Route is one compiled definition, immutable but for its counters. Reload compiles what changed, swaps the pointer, and
// drains what left.
package host
