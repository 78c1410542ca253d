// Package processtest runs programs for tests: it starts them, gathers what they write, lets tests wait for a line of it,
// stops them, and tells a crash from a good end. The end-to-end tests of the gateway and those of the examples share it.
// It knows none of the programs.
package processtest
