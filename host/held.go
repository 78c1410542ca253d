package host

import (
	"sync"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
)

// held is the flows of a route that may wait for their client as long as it likes: uploads, long replies and switched
// connections. A route that is to be closed cuts those that a drain has left. The others wait for upstreams and hooks,
// whose end comes with them.
type held struct {
	mu    sync.Mutex
	cut   bool
	flows map[*state]flow.Cutter
	_     [32]byte
}

// hold notes that the flow may wait for its client; letGo takes that back. A client that cannot be cut is not waited for
// in vain: fronts of ours all can.
func (st *state) hold() {
	c, ok := st.f.Client.(flow.Cutter)
	if st.isHeld || !ok {
		return
	}
	h := &st.route.held[st.shard]
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cut {
		c.Cut()
		return
	}
	if h.flows == nil {
		h.flows = map[*state]flow.Cutter{}
	}
	h.flows[st] = c
	st.isHeld = true
}

func (st *state) letGo() {
	if !st.isHeld {
		return
	}
	h := &st.route.held[st.shard]
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.flows, st)
	st.isHeld = false
}

// cut ends what waits for clients, now and from now on.
func (r *Route) cut() {
	for i := range r.held {
		h := &r.held[i]
		h.mu.Lock()
		h.cut = true
		for _, c := range h.flows {
			c.Cut()
		}
		h.mu.Unlock()
	}
}

// wasCut reports whether the flow's route has cut what was left of it.
func (st *state) wasCut() bool {
	h := &st.route.held[st.shard]
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cut
}
