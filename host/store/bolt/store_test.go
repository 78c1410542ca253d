package bolt_test

import (
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/storetest"
)

// clock is a wall clock that tests set.
type clock struct{ offset atomic.Int64 }

func (c *clock) Now() time.Time        { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) Pass(d time.Duration)  { c.offset.Add(int64(d)) }
func (c *clock) options() bolt.Options { return bolt.Options{Now: c.Now} }

func open(t testing.TB, folder string, options bolt.Options) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(t.Context(), folder, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	goleak.VerifyNone(t)
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		t.Cleanup(func() { goleak.VerifyNone(t) })
		c := &clock{}
		s := open(t, t.TempDir(), c.options())
		return storetest.Fixture{Store: s, Now: c.Now, Pass: c.Pass, Close: s.Close}
	})
}
