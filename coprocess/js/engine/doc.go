// Package engine runs a plugin's JavaScript on goja: programs compiled once, a pool of interpreters, each call watched,
// what a call leaves in globals undone. It knows no API; packages tykapi and modern install theirs into its VMs.
//
// # What is bounded, and how
//
// Loops, recursion and growth by many steps are interrupted by the [script.Watch]. goja cannot be interrupted inside of a
// built-in function, so those that grow, or that run over as many elements as a number says, are replaced by ones that
// look at the size first; regular expressions run step by step, each match with a timeout (see [BoundPatterns]); JSON is
// bounded in depth. Against what is left no bound of this package helps: operators on strings that double what is there
// (the watch sees it a few milliseconds later), a chain of hundreds of thousands of proxies. Where scripts are not
// trusted that far, a process of its own bounds hard.
package engine
