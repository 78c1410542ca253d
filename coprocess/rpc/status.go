package rpc

import (
	"cmp"
	"slices"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/session"
)

// InstanceStatus is what is known of one instance at one moment.
type InstanceStatus struct {
	Address  string   `json:"address"`
	State    State    `json:"state"`
	Protocol Protocol `json:"protocol,omitempty"`
	Name     string   `json:"name,omitempty"` // of the plugin, native protocol only
	Version  string   `json:"version,omitempty"`
	Error    string   `json:"error,omitempty"` // why it takes no calls
	InFlight int      `json:"in_flight"`
	Stats    Stats    `json:"stats"`
}

// Stats count what happened since the present connection was made.
type Stats struct {
	Calls       uint64 `json:"calls"`
	Frames      uint64 `json:"frames"`      // sent; 0 with Tyk's protocol
	CallFrames  uint64 `json:"call_frames"` // of those, frames that held calls
	LateReplies uint64 `json:"late_replies"`
	Unknown     uint64 `json:"unknown_replies"`
	Waiting     int    `json:"waiting"` // calls without credit
}

// Status lists the instances by address; none when the server's name has no address.
func (s *Server) Status() []InstanceStatus {
	s.mu.Lock()
	instances := make([]*instance, 0, len(s.instances))
	for _, i := range s.instances {
		instances = append(instances, i)
	}
	s.mu.Unlock()
	list := make([]InstanceStatus, 0, len(instances))
	for _, i := range instances {
		list = append(list, i.status())
	}
	slices.SortFunc(list, func(a, b InstanceStatus) int { return cmp.Compare(a.Address, b.Address) })
	return list
}

// Stats adds up what Status lists.
func (s *Server) Stats() Stats {
	var sum Stats
	for _, i := range s.Status() {
		sum.add(&i.Stats)
	}
	return sum
}

func (st *Stats) add(o *Stats) {
	st.Calls += o.Calls
	st.Frames += o.Frames
	st.CallFrames += o.CallFrames
	st.LateReplies += o.LateReplies
	st.Unknown += o.Unknown
	st.Waiting += o.Waiting
}

func (i *instance) status() InstanceStatus {
	i.mu.Lock()
	st := InstanceStatus{Address: i.address, State: i.state}
	l, err := i.link, i.err
	i.mu.Unlock()
	if err != nil {
		st.Error = err.Error()
	}
	if l == nil {
		return st
	}
	st.Protocol = l.manner.protocol
	if about := l.manner.about; about != nil {
		st.Name, st.Version = about.Name, about.Version
	}
	st.InFlight = int(l.unary.Load())
	st.Stats.Calls = l.calls.Load()
	for _, s := range l.sessions {
		n := s.Stats()
		st.InFlight += n.InFlight
		st.Stats.add(statsOf(n))
	}
	return st
}

func statsOf(n session.Stats) *Stats {
	return &Stats{
		Calls: n.Calls, Frames: n.Frames, CallFrames: n.CallFrames, LateReplies: n.Late, Unknown: n.Unknown, Waiting: n.Waiting,
	}
}
