// Package modern is our own interface for JavaScript plugins, as coprocess/script/API.md has it. The objects of an
// interpreter are made once and look at the exchange of the call that is under way, so a call makes none.
package modern
