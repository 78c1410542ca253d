package host

// Inherit says, before the first load, which gateway this one is to succeed: a definition that is refused keeps, stale, the
// form in which that one serves it, as far as it compiles under the options here. What the load did is told when it
// succeeds that one, not before.
func (g *Gateway) Inherit(old *Gateway) { g.before = old.table.Load() }

// Succeed takes the place of a gateway whose requests come here from now on: that one hands on those that it gets still,
// and tells of this one when it is asked whether it is ready. It is to be closed then, which waits for what it has under way.
func (g *Gateway) Succeed(old *Gateway) {
	g.loading.Lock()
	defer g.loading.Unlock()
	old.next.Store(g)
	g.before = nil
	g.tell()
}

// Lost lists the routes that serve in another gateway and are refused in this one.
func (g *Gateway) Lost(other *Gateway) []Refusal {
	served := map[string]bool{}
	for _, r := range other.Status().Routes {
		served[r.ID] = served[r.ID] || r.State != stateRefused
	}
	var lost []Refusal
	for _, r := range g.Status().Routes {
		if r.State == stateRefused && served[r.ID] {
			lost = append(lost, Refusal{ID: r.ID, Host: r.Host, ListenPath: r.ListenPath, File: r.File, State: r.State, Reason: r.Reason})
		}
	}
	return lost
}
