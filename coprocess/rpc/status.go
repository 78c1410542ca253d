package rpc

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
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
		st.Stats.add(&Stats{Calls: n.Calls, Frames: n.Frames, CallFrames: n.CallFrames, LateReplies: n.Late, Unknown: n.Unknown, Waiting: n.Waiting})
	}
	return st
}

// Counted is what the plugin of one instance counts itself.
type Counted struct {
	Address string
	Stats   []sdk.Stat
}

// countPatience bounds how long instances are waited for that are asked what they count.
const countPatience = time.Second

// Counted asks the instances that take calls what their plugins count, all at once. One that does not answer within a second,
// or not as it should, or speaks a version of the protocol that has no word for it, is not in the list.
func (s *Server) Counted() []Counted {
	ctx, cancel := context.WithTimeout(s.ctx, countPatience)
	defer cancel()
	links := *s.ready.Load()
	replies := make([]Counted, len(links))
	var asked sync.WaitGroup
	for n, l := range links {
		again := slices.ContainsFunc(links[:n], func(o *link) bool { return o.i == l.i }) // while one succeeds the other
		if about := l.manner.about; again || about == nil || about.Minor < wire.MinorStats {
			continue
		}
		asked.Go(func() {
			var in rawcodec.In
			if l.i.conn.Invoke(ctx, pluginv1.Plugin_Stats_FullMethodName, &rawcodec.Out{}, &in) == nil {
				stats, _ := wire.DecodeStats(in.Data) // none, when they cannot be read
				replies[n] = Counted{l.i.address, stats}
			}
		})
	}
	asked.Wait()
	return slices.DeleteFunc(replies, func(c Counted) bool { return len(c.Stats) == 0 })
}
