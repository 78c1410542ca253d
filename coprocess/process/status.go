package process

import (
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/keeper"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/output"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
)

// State is what an instance is doing.
type State string

// The states of an instance.
const (
	StateStarting    State = "starting"    // a process was started and is not ready yet
	StateReady       State = "ready"       // a process takes calls, if rpc's state says so too
	StateBackoff     State = "backoff"     // none runs; the next is started in a while
	StateQuarantined State = "quarantined" // too many ended: the next, after a longer while, is on trial
	StateStopped     State = "stopped"     // the server was closed
)

// Reason is why a process is no longer used.
type Reason string

// The reasons.
const (
	ReasonStart     Reason = "start"         // it could not be started
	ReasonHandshake Reason = "handshake"     // what it said of where it listens was not acceptable
	ReasonTimeout   Reason = "start_timeout" // it was not ready in time
	ReasonProtocol  Reason = "protocol"      // it listens, and does not speak as plugin servers do
	ReasonExited    Reason = "exited"        // it ended
	ReasonLimit     Reason = "limit"         // it was ended because it used too much
	ReasonUnhealthy Reason = "unhealthy"     // it did not answer health checks
)

// Reasons are all of them.
func Reasons() []Reason {
	return []Reason{ReasonStart, ReasonHandshake, ReasonTimeout, ReasonProtocol, ReasonExited, ReasonLimit, ReasonUnhealthy}
}

// Crash says why a process is no longer used. It is immutable.
type Crash struct {
	Time     time.Time     `json:"time"`
	Reason   Reason        `json:"reason"`
	Error    string        `json:"error"`
	PID      int           `json:"pid"`
	Uptime   time.Duration `json:"uptime_ns"`
	ExitCode int           `json:"exit_code"` // -1: a signal, or it still ran
	Signal   string        `json:"signal,omitempty"`
	MaxRSS   int64         `json:"max_rss_bytes,omitempty"`
	CPU      time.Duration `json:"cpu_ns,omitempty"`
	Lines    []string      `json:"last_lines,omitempty"` // of what it wrote

	cause error // of one that was not started
}

// Status is what is known of a plugin server at one moment.
type Status struct {
	Name      string           `json:"name"`
	Command   []string         `json:"command"`
	Protocol  string           `json:"protocol,omitempty"`
	Instances []InstanceStatus `json:"instances"`
}

// InstanceStatus is what is known of one instance.
type InstanceStatus struct {
	Instance  int       `json:"instance"` // from 0
	State     State     `json:"state"`
	Since     time.Time `json:"since"` // of the state
	PID       int       `json:"pid,omitempty"`
	Replacing bool      `json:"replacing,omitempty"` // its successor is being started
	// NextStart is when the next process is started, in backoff and quarantine.
	NextStart *time.Time `json:"next_start,omitempty"`
	// Starts counts processes that became ready; Crashes what ended otherwise than by order, by reason.
	Starts    uint64              `json:"starts"`
	Restarts  uint64              `json:"restarts"` // Starts but the first, and replacements that were ordered
	Crashes   map[Reason]uint64   `json:"crashes,omitempty"`
	LastCrash *Crash              `json:"last_crash,omitempty"`
	ReadyIn   time.Duration       `json:"ready_in_ns,omitempty"` // from the start of the present process
	Usage     *keeper.Usage       `json:"usage,omitempty"`
	Output    *output.Counts      `json:"output,omitempty"` // of the present process
	RPC       *rpc.InstanceStatus `json:"rpc,omitempty"`
}

// Status says what is known at the moment. It can be encoded as JSON.
func (s *Server) Status() Status {
	st := Status{Name: s.o.Name, Command: s.o.Command, Protocol: s.Protocol()}
	if c := s.command.Load(); c != nil {
		st.Command = *c
	}
	members := map[string]*rpc.InstanceStatus{}
	all := s.rpc.Status()
	for i := range all {
		members[all[i].Address] = &all[i]
	}
	for _, u := range s.slots {
		i, r := u.snapshot()
		if r != nil {
			usage, counts := r.proc.Usage(), r.out.Counts()
			i.PID, i.ReadyIn, i.Usage, i.Output, i.RPC = r.proc.PID(), r.ready.Sub(r.begun), &usage, &counts, members[r.name]
		}
		st.Instances = append(st.Instances, i)
	}
	return st
}
