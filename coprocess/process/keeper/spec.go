// Package keeper starts a program in a process of its own that keeps it: whatever the program starts, and however
// deeply it hides it, ends when the program ends, when the host says so, or when the host itself ends, even by SIGKILL.
//
// The keeper is the host's own binary, started with [Arg]; a host's main function runs [Main] then, before anything
// else. It holds one end of a socket whose other end only the host has: the end of that is the end of the host. On Linux
// it is a subreaper, so that orphans of the program become its children, wherever they went; elsewhere only the program's
// process group ends with it.
package keeper

import (
	"encoding/json"
	"fmt"
	"time"
)

// Arg is the first argument that makes the host's binary a keeper.
const Arg = "__keeper"

// Spec says what to start.
type Spec struct {
	Path string   // absolute
	Args []string // with the program's name first
	Env  []string
	Dir  string // to work in
	// Private is a folder that the keeper makes for the program alone, mode 0700, and removes at the end; "" for none.
	Private string
	// Remains are folders of the host's that are removed when it ends without taking leave, by a crash.
	Remains []string
	// User is who runs the program; nil: whoever runs the host.
	User   *User
	Limits Limits
}

// bytewise is how a Spec travels: names and environments are bytes, and JSON's strings are text.
type bytewise struct {
	Path, Dir, Private []byte
	Args, Env, Remains [][]byte
	User               *User
	Limits             Limits
}

// MarshalJSON keeps what is no UTF-8 as it is.
func (s *Spec) MarshalJSON() ([]byte, error) {
	list := func(all []string) (b [][]byte) {
		for _, one := range all {
			b = append(b, []byte(one))
		}
		return b
	}
	return json.Marshal(&bytewise{
		Path: []byte(s.Path), Dir: []byte(s.Dir), Private: []byte(s.Private),
		Args: list(s.Args), Env: list(s.Env), Remains: list(s.Remains), User: s.User, Limits: s.Limits,
	})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Spec) UnmarshalJSON(data []byte) error {
	var b bytewise
	if err := json.Unmarshal(data, &b); err != nil {
		return fmt.Errorf("what to start: %w", err)
	}
	list := func(all [][]byte) (l []string) {
		for _, one := range all {
			l = append(l, string(one))
		}
		return l
	}
	*s = Spec{
		Path: string(b.Path), Dir: string(b.Dir), Private: string(b.Private),
		Args: list(b.Args), Env: list(b.Env), Remains: list(b.Remains), User: b.User, Limits: b.Limits,
	}
	return nil
}

// User is a user by numbers.
type User struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
}

// Limits bound a program with all it starts. 0 is no limit. A program over Memory or Processes is ended.
type Limits struct {
	// Memory is what the processes may have for themselves in memory, in bytes, added up. It is looked at every 100 ms;
	// what one process may ask for at once is bounded too (RLIMIT_DATA), at twice that and 256 MiB.
	Memory int64 `json:"memory,omitempty"`
	// Files is how many each process may have open (RLIMIT_NOFILE).
	Files int `json:"files,omitempty"`
	// Processes is how many there may be. A user of its own may moreover have 64 threads for each, and 256
	// (RLIMIT_NPROC).
	Processes int `json:"processes,omitempty"`
}

// Usage is what a program and all it started use.
type Usage struct {
	Memory    int64 `json:"memory"` // bytes
	Processes int   `json:"processes"`
}

// Exit is how a program ended.
type Exit struct {
	Code    int           `json:"code"`             // -1: by a signal
	Signal  string        `json:"signal,omitempty"` // its name
	MaxRSS  int64         `json:"max_rss"`          // bytes
	CPU     time.Duration `json:"cpu"`
	Breach  string        `json:"breach,omitempty"`  // the limit it was ended for
	Lost    bool          `json:"lost,omitempty"`    // somebody killed the keeper, and it with that
	Ordered bool          `json:"ordered,omitempty"` // the host wanted it to end
}

// message is what either side says, one a line.
type message struct {
	// From the host.
	Start *Spec `json:"start,omitempty"`
	Stop  *stop `json:"stop,omitempty"`
	// From the keeper.
	Started int    `json:"started,omitempty"` // process id
	Failed  string `json:"failed,omitempty"`
	Usage   *Usage `json:"usage,omitempty"`
	Exit    *Exit  `json:"exit,omitempty"` // of the program; others may still run
	Gone    bool   `json:"gone,omitempty"` // all have ended; the last message
}

// stop is an order to end: with SIGTERM, and after Grace with SIGKILL.
type stop struct {
	Grace time.Duration `json:"grace"`
}

// The keeper's files beside the standard ones.
const (
	controlFile = 3 // the socket
	outFile     = 4 // the program's standard output
	errFile     = 5 // and error
)
