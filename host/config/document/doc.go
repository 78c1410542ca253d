// Package document reads JSON and YAML files into trees whose nodes know where they stand, and
// decodes the trees strictly into Go values. It knows nothing of what the files mean.
//
// Nothing here panics on any input: size, nesting and number of nodes are bounded, YAML aliases
// are refused, and everything that is wrong with a file is collected as Problems instead of
// stopping at the first.
package document
