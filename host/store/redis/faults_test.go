package redis_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redis"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redistest"
)

// replied is an error reply, as the client has it.
type replied string

func (r replied) Error() string { return string(r) }
func (replied) RedisError()     {}

func TestFault(t *testing.T) {
	tests := []struct {
		err  error
		want error
	}{
		{replied("READONLY You can't write against a read only replica. script: 1f, on @user_script:12."), store.ErrUnavailable},
		{replied("ERR Error running script (call to f_1f): @user_script:12: @user_script: 12: -READONLY You can't write against a read only replica."), store.ErrUnavailable},
		{replied("ERR Error running script (call to f_1f): @user_script:12: @user_script: 12: -OOM command not allowed when used memory > 'maxmemory'."), store.ErrFull},
		{replied("OOM command not allowed when used memory > 'maxmemory'."), store.ErrFull},
		{replied("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk."), store.ErrFull},
		{replied("LOADING Redis is loading the dataset in memory"), store.ErrUnavailable},
		{replied("NOAUTH Authentication required."), store.ErrUnavailable},
		{replied("ERR max number of clients reached"), store.ErrUnavailable},
		{replied("ERR value is not an integer or out of range"), store.ErrNumber},
		{replied("ERR Error running script (call to f_1f): @user_script:3: ERR value is not an integer or out of range"), store.ErrNumber},
		{context.Canceled, context.Canceled},
		{context.DeadlineExceeded, store.ErrUnavailable},
	}
	for _, tt := range tests {
		if got := redis.Fault("try", tt.err); !errors.Is(got, tt.want) {
			t.Errorf("%v: got %v, want %v", tt.err, got, tt.want)
		}
	}
	if got := redis.Fault("try", replied("WRONGTYPE Operation against a key")); errors.Is(got, store.ErrUnavailable) || got == nil {
		t.Errorf("what no time cures: got %v", got)
	}
}

// A server that has forgotten its scripts is told them again.
func TestScriptsFlushed(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, redis.Options{Addrs: []string{server.Addr}})
	up(t, s)
	for i := range 3 {
		server.Do("SCRIPT", "FLUSH")
		n, err := s.Add(t.Context(), "n", 2, time.Time{})
		if err != nil || n != int64(2*(i+1)) {
			t.Errorf("add: %d, %v", n, err)
		}
		server.Do("SCRIPT", "FLUSH")
		err = s.Update(t.Context(), "k", func(old *store.Entry) (*store.Entry, error) {
			return &store.Entry{Value: []byte(fmt.Sprint(i))}, nil
		})
		if e, failed := s.Get(t.Context(), "k"); err != nil || failed != nil || string(e.Value) != fmt.Sprint(i) {
			t.Errorf("update: %v; %q, %v", err, e.Value, failed)
		}
	}
}

// A password that changes under the store, as when it is rotated, is no store: it says so, without the password, and serves
// again when the old one holds.
func TestPasswordChanges(t *testing.T) {
	server := redistest.Start(t, "user default off", "user admin on nopass ~* &* +@all", "user gateway on >s3cret ~* &* +@all")
	s := open(t, redis.Options{Addrs: []string{server.Addr}, Username: "gateway", Password: "s3cret"})
	up(t, s)
	admin := open(t, redis.Options{Addrs: []string{server.Addr}, Username: "admin", Password: "any"})
	rotate := func(words ...any) {
		t.Helper()
		if err := admin.Client().Do(t.Context(), append([]any{"ACL", "SETUSER", "gateway"}, words...)...).Err(); err != nil {
			t.Fatal(err)
		}
		if err := admin.Client().Do(t.Context(), "CLIENT", "KILL", "USER", "gateway").Err(); err != nil {
			t.Fatal(err)
		}
	}
	up(t, admin)
	rotate("resetpass", ">another")
	await(t, s, "away", func(err error) bool { return errors.Is(err, store.ErrUnavailable) })
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	rotate("resetpass", ">s3cret")
	up(t, s)
	if err := s.Apply(t.Context(), store.Write{Key: "k", Entry: store.Entry{Value: []byte("v")}}); err != nil {
		t.Error(err)
	}
}

// Of a batch that is too large to be told key by key, others are told that anything may have changed, and nobody is cut off.
func TestLargeBatch(t *testing.T) {
	server := redistest.Start(t, "client-output-buffer-limit pubsub 256kb 0 0")
	a, b := open(t, redis.Options{Addrs: []string{server.Addr}, Timeout: 5 * time.Second}), open(t, redis.Options{Addrs: []string{server.Addr}})
	up(t, a)
	up(t, b)
	var own, others told
	own.watch(t, a)
	others.watch(t, b)
	writes := make([]store.Write, 10001)
	for i := range writes {
		writes[i] = store.Write{Key: fmt.Sprintf("key/%064d", i), Entry: store.Entry{Value: []byte("v")}}
	}
	subscribers := func() []string {
		t.Helper()
		list, err := a.Client().Do(t.Context(), "CLIENT", "LIST", "TYPE", "pubsub").Text()
		if err != nil {
			t.Fatal(err)
		}
		return regexp.MustCompile(`(?m)^id=\d+`).FindAllString(list, -1)
	}
	before := subscribers()
	if err := a.Apply(t.Context(), writes...); err != nil {
		t.Fatal(err)
	}
	own.await(t, writes[10000].Key)
	others.await(t, "*")
	if after := subscribers(); len(before) != 2 || !slices.Equal(before, after) {
		t.Errorf("a subscriber was cut off: %v, before %v", after, before)
	}
}
