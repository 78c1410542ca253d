package bundled

import (
	"context"
	"encoding/json"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
)

// A Holding is a bundle that was loaded, with all that is needed to judge it again by other trust.
type Holding struct {
	holding
	stale error
}

// Bundle returns what was verified.
func (h *Holding) Bundle() *bundles.Bundle { return h.bundle }

// Decision says what was found out about it.
func (h *Holding) Decision() Decision {
	d := Decide(h.request.Name, h.origin, h.bundle, nil)
	if h.stale != nil {
		d.Stale = h.stale.Error()
	}
	return d
}

// Get is Load, for whoever wants to judge the bundle again.
func (l *Loader) Get(ctx context.Context, name string) (*Holding, error) {
	if _, err := l.LoadAll(ctx, name); err != nil {
		return nil, err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return &Holding{holding: l.held[name]}, nil
}

// Peek fetches and verifies as Get does, accepts nothing, and tells nobody.
func (l *Loader) Peek(ctx context.Context, name string) (*Holding, error) {
	h, stale, err := l.verify(ctx, l.current(), name)
	if err != nil {
		return nil, err
	}
	return &Holding{h, stale}, nil
}

// Judge decides about a bundle that was loaded once, here or by another loader, by the trust that is in force now.
func (l *Loader) Judge(h *Holding) Decision { return l.judge(l.current(), h) }

// JudgeBy decides by another policy, in JSON (trust.Policy), and the keys and the index that are in force.
func (l *Loader) JudgeBy(policy []byte, all []*Holding) ([]Decision, error) {
	t := *l.current()
	var err error
	if t.Policy, err = trust.ParsePolicy(policy); err != nil {
		return nil, err
	}
	decided := make([]Decision, len(all))
	for i, h := range all {
		decided[i] = l.judge(&t, h)
	}
	return decided, nil
}

func (l *Loader) judge(t *Trusted, h *Holding) Decision {
	b, err := l.verifier(t).Verify(h.request)
	if err == nil && l.settings.RequireSigned && b.Verdict().Unsigned {
		err = refusal.New(refusal.Unsigned, "nobody has signed %q, and this gateway requires it", h.request.Name)
	}
	return Decide(h.request.Name, h.origin, b, err)
}

// An Offer is what a source has under a name: enough to see whether that has changed.
type Offer struct {
	Archive, Adoption string       // digests
	Refused           refusal.Code // why nothing is had
}

// Offered asks the source what it has under a name now.
func (l *Loader) Offered(ctx context.Context, name string) Offer {
	pin := ""
	if rule, err := l.current().Policy.Rule(name); err == nil {
		pin = rule.SHA256
	}
	got, err := l.source.Fetch(ctx, name, pin)
	if err != nil {
		return Offer{Refused: refusal.CodeOf(err)}
	}
	return Offer{Archive: digest(got.Archive), Adoption: digest(got.Adoption)}
}

// Seen is what trust stands on beside files that are watched: the state's revocations and overrides, and, when it is
// fetched, the index. It changes when bundles must be judged again.
func (l *Loader) Seen(ctx context.Context, fetch bool) (string, error) {
	s, err := l.state.State()
	if err != nil {
		return "", err
	}
	index := l.current().indexSHA256
	if fetch && l.settings.Trust.Index != "" {
		t, err := l.read(ctx, l.settings.Trust)
		if err != nil {
			return "", err
		}
		index = t.indexSHA256
	}
	text, err := json.Marshal([]any{s.Revoked, s.Overrides, index})
	return string(text), err
}

// inFolder is a folder of bundles before another source, which may be nil.
type inFolder struct {
	source.Folder
	next source.Source
}

// Fetch asks the other source for what the folder does not have.
func (f inFolder) Fetch(ctx context.Context, name, sha256 string) (source.Fetched, error) {
	got, err := f.Folder.Fetch(ctx, name, sha256)
	if f.next != nil && refusal.CodeOf(err) == refusal.SourceMissing {
		return f.next.Fetch(ctx, name, sha256)
	}
	return got, err
}

// Close closes the other source.
func (f inFolder) Close() error {
	if f.next == nil {
		return nil
	}
	return f.next.Close()
}

// Offer is what the source had when the bundle was loaded.
func (h *Holding) Offer() Offer {
	return Offer{Archive: digest(h.request.Archive), Adoption: digest(h.request.Adoption)}
}
