package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// hideProcess keeps other processes of the same user from this one's environment, memory and files, in /proc and by
// ptrace(2). What it may do itself stays, and a program that it executes begins as every other does, so keepers start. The price is
// that there are no core dumps, and debuggers only for root.
func hideProcess() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keep other processes of this user out: %w", err)
	}
	return nil
}
