// Package interp is a Lua interpreter (gopher-lua) fit to run the scripts of strangers inside the gateway: states that can
// be interrupted, that are used for one call after the other without one seeing what another left in globals, and whose
// libraries bound what they make.
//
// # What is bounded, and what is not
//
// Everything a script does instruction by instruction ends soon after [State.Interrupt]: loops, recursion, growth of
// tables. So does a search for a pattern. What one native function or one concatenation makes is at most Limits.Size
// long. Between two looks of the watch memory may still grow by some hundred megabytes in the hands of somebody who
// means to: scripts of people one does not trust belong into a process of their own.
//
// # What differs from Lua 5.1
//
//   - os has the clock only (time, date, clock, difftime); io, debug, loadfile and dofile are absent. Operators may allow them.
//   - require finds files of the plugin's folder; module, newproxy and string.dump are absent.
//   - Standard libraries take new functions while files are loaded and are read-only afterwards.
//   - Tables keep positions beyond 1 Mi outside of their array part, where # does not see them.
//   - collectgarbage does nothing; print writes to the log.
package interp
