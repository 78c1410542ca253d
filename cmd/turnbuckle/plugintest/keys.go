package plugintest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// keys are the gateway's keys for the time of a run: sessions in Tyk's JSON, by their keys. Nothing is counted, so that a
// quota is as it was set.
type keys struct {
	mu   sync.Mutex
	held map[string]map[string]any
}

var _ script.Keys = (*keys)(nil)

// newKeys returns keys that hold those sessions.
func newKeys(sessions map[string]json.RawMessage) (*keys, error) {
	k := &keys{held: map[string]map[string]any{}}
	for key, text := range sessions {
		var s map[string]any
		if err := json.Unmarshal(text, &s); err != nil || s == nil {
			return nil, fmt.Errorf("keys: the session of %q must be an object", key)
		}
		k.held[key] = s
	}
	return k, nil
}

// GetKeyData implements [script.Keys].
func (k *keys) GetKeyData(_ context.Context, _ *sdk.Route, key, _ string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.held[key]
	if !ok {
		return nil, script.ErrNoKey
	}
	return json.Marshal(s)
}

// SetKeyData implements [script.Keys].
func (k *keys) SetKeyData(_ context.Context, route *sdk.Route, key string, session []byte, suppressReset bool) error {
	var s map[string]any
	if err := json.Unmarshal(session, &s); err != nil || s == nil {
		return fmt.Errorf("key %q: its session must be an object", key)
	}
	s["org_id"] = route.Org // as the gateway does, whatever organisation the script was copied with
	k.mu.Lock()
	defer k.mu.Unlock()
	was, known := k.held[key]
	if known && suppressReset {
		s["quota_remaining"], s["quota_renews"] = was["quota_remaining"], was["quota_renews"]
	} else {
		renewal, _ := s["quota_renewal_rate"].(float64)
		s["quota_remaining"], s["quota_renews"] = s["quota_max"], time.Now().Unix()+int64(renewal)
	}
	k.held[key] = s
	return nil
}
