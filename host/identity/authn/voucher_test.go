package authn

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
)

// A hook stands by a session until its deadline, for itself, where it was asked, as the session was.
func TestVouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, deadline := NewMemory(), time.Now().Add(time.Hour).Unix()
		made := func(id string, version uint64, deadline int64) *identity.Caller {
			return &identity.Caller{ID: id, Version: version, Session: &identity.Session{IDExtractorDeadline: deadline}}
		}
		v, c := Voucher{API: "a", Hook: "s/h"}, made("k", 1, deadline)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { m.Vouch(v, c); m.Vouched(v, c) })
		}
		all.Wait()
		m.Vouch(v, made("old", 1, 1))
		for _, tt := range []struct {
			v    Voucher
			c    *identity.Caller
			want bool
		}{
			{v, c, true},
			{v, made("k", 2, deadline), false},
			{v, made("other", 1, deadline), false},
			{v, made("old", 1, 1), false},
			{Voucher{"b", "s/h"}, c, false},
			{Voucher{"a", "s/g"}, c, false},
			{Voucher{"as", "/h"}, c, false},
		} {
			if got := m.Vouched(tt.v, tt.c); got != tt.want {
				t.Errorf("%v, key %s of version %d: got %v", tt.v, tt.c.ID, tt.c.Version, got)
			}
		}
		<-time.After(time.Hour) // of the bubble
		if m.Vouched(v, c) {
			t.Error("after the deadline")
		}
	})
}
