// Package script is what the runtimes of script languages have in common: reading source files, the services that a
// script may use, what bounds a call, pools of interpreters, and errors that name file and line. API.md beside it is the
// interface that scripts are written against, the same in every language.
//
// Nothing here knows a language. A runtime makes a [Plugin]'s interpreters, keeps them in a [Pool], has each call watched
// by the process's one [Watch], and tells the plugin's [Quarantine] how the call ended.
//
// # What a bound is worth
//
// Script and gateway share one process. A [Watch] interrupts what the interpreter executes: loops, recursion, growth by
// many small steps. It cannot interrupt one native function of an interpreter, so runtimes cap those that grow
// ([Limits.Size]) and bound those that search. It sees the memory of the process, not of one script: what it interrupts is
// the call that has run longest while memory grew. A hard bound is one of the operating system's, around a process of
// its own.
package script
