package script

import (
	"cmp"
	"time"
)

// Limits bound the calls of one plugin. The zero value of each field takes its default.
type Limits struct {
	// Time is how long one call may take, waiting included, whose context has no deadline. 5 s.
	Time time.Duration
	// Heap is by how many bytes the heap of the process may grow during one call. 128 MiB.
	Heap int64
	// Size is how many bytes a string may have, or an array with 16 for each element, that one native function makes.
	// 16 MiB.
	Size int
	// Depth is how many calls of functions may be nested. 512.
	Depth int
	// Source is how many bytes one source file may have, and all of a plugin together. 4 MiB.
	Source int64

	// Idle is how many interpreters are kept while nothing calls the plugin, Most how many there are at all; a call
	// beyond waits for one. 8 and 256.
	Idle, Most int

	// Strikes is how many offences within Window put a plugin in quarantine, for Hold at first, and twice as long each
	// time a trial call offends, up to HoldMost. 5 in 1 min, for 5 s, up to 5 min.
	Strikes                int
	Window, Hold, HoldMost time.Duration
}

// Complete returns the limits with defaults where nothing is said.
func (l Limits) Complete() Limits {
	l.Time = cmp.Or(max(l.Time, 0), 5*time.Second)
	l.Heap = cmp.Or(max(l.Heap, 0), 128<<20)
	l.Size = cmp.Or(max(l.Size, 0), 16<<20)
	l.Depth = cmp.Or(max(l.Depth, 0), 512)
	l.Source = cmp.Or(max(l.Source, 0), 4<<20)
	l.Idle = cmp.Or(max(l.Idle, 0), 8)
	l.Most = cmp.Or(max(l.Most, 0), 256)
	l.Strikes = cmp.Or(max(l.Strikes, 0), 5)
	l.Window = cmp.Or(max(l.Window, 0), time.Minute)
	l.Hold = cmp.Or(max(l.Hold, 0), 5*time.Second)
	l.HoldMost = max(l.Hold, cmp.Or(max(l.HoldMost, 0), 5*time.Minute))
	return l
}
