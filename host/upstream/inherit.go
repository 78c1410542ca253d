package upstream

// Inherit takes over what another knows of the targets that both have: which are down, and why. It is for an upstream that
// takes the other's place, before its first request; what of its own would bring a target up again must be there, so
// verdicts of health checks are taken only where there are such, and ejections only where there are those.
func (u *Upstream) Inherit(from *Upstream) {
	for _, t := range u.targets {
		for _, before := range from.targets {
			if before.Name == t.Name {
				u.inherit(t, before)
				break
			}
		}
	}
}

func (u *Upstream) inherit(t, before *target) {
	before.mu.Lock()
	times, last, at := before.times, before.last, before.at
	before.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last, t.at = last, at
	if u.o.Health.Interval > 0 {
		t.sick.Store(before.sick.Load())
	}
	if u.o.Ejection.Failures > 0 {
		t.times = times
		t.failures.Store(before.failures.Load())
		t.until.Store(before.until.Load())
	}
}
