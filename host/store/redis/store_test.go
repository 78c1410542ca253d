package redis_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redis"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redistest"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/storetest"
)

func open(t testing.TB, options redis.Options) *redis.Store {
	t.Helper()
	s, err := redis.Open(t.Context(), options)
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

// await waits for a status, as a caller does who watches.
func await(t testing.TB, s *redis.Store, what string, is func(error) bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		status := s.Status()
		if is(status.Err) {
			return
		}
		select {
		case <-status.Next:
		case <-limit:
			t.Fatalf("the store does not become %s: %v", what, status.Err)
		}
	}
}

func up(t testing.TB, s *redis.Store) {
	t.Helper()
	await(t, s, "ready", func(err error) bool { return err == nil })
}

// conform runs the suite with each test in a prefix of its own.
func conform(t *testing.T, options redis.Options) {
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		t.Cleanup(func() { goleak.VerifyNone(t, goleak.IgnoreCurrent()) })
		o := options
		o.Prefix = "test[" + t.Name() + "]*:"
		s, peer := open(t, o), open(t, o)
		up(t, s)
		up(t, peer)
		return storetest.Fixture{Store: s, Peer: peer, Now: time.Now, Close: s.Close, Pass: func(d time.Duration) {
			end := time.Now().Add(d) // the server has its own clock, that of this machine
			redistest.Await(t, "time to pass", func() bool { return time.Now().After(end) })
		}}
	})
}

func TestStore(t *testing.T) {
	server := redistest.Start(t)
	conform(t, redis.Options{Addrs: []string{server.Addr}, DB: 3})
}

func TestCluster(t *testing.T) {
	nodes := redistest.StartCluster(t)
	conform(t, redis.Options{Addrs: []string{nodes[1].Addr}, Cluster: true})
}

func TestSentinel(t *testing.T) {
	g := redistest.StartSentinels(t)
	options := redis.Options{Addrs: g.Addrs(), Master: redistest.MasterName}
	conform(t, options)

	// The master dies in the middle of it.
	options.Prefix = redis.DefaultPrefix
	s := open(t, options)
	up(t, s)
	var resynced told
	resynced.watch(t, s)
	if err := s.Apply(t.Context(), store.Write{Key: "kept"}); err != nil {
		t.Fatal(err)
	}
	redistest.Await(t, "the replica", func() bool { return strings.HasPrefix(g.Replica.Do("EXISTS", redis.DefaultPrefix+"kept"), ":1") })
	resynced.reset()
	g.Master.Kill()
	failed := 0
	for i := range 100000 {
		began := time.Now()
		err := s.Apply(t.Context(), store.Write{Key: "during"})
		if err == nil {
			break
		}
		if failed++; !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("during the failover: %v", err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("call %d took %v", i, took)
		}
		if failed > 90000 {
			t.Fatal(err)
		}
		pause(t, 20*time.Millisecond)
	}
	up(t, s)
	if _, err := s.Get(t.Context(), "kept"); err != nil {
		t.Errorf("after the failover: %v", err)
	}
	if failed == 0 {
		t.Error("the master died and nothing failed: this tests nothing")
	}
	resynced.await(t, "*")
}

// pause polls no faster than this.
func pause(t testing.TB, d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

func TestRestart(t *testing.T) {
	server := redistest.Start(t, "appendonly yes", "appendfsync always")
	options := redis.Options{Addrs: []string{server.Addr}, Prefix: redis.DefaultPrefix}
	s, peer := open(t, options), open(t, options)
	up(t, s)
	up(t, peer)
	ctx := t.Context()
	if err := s.Apply(ctx, store.Write{Key: "k", Entry: store.Entry{Value: []byte("v")}}); err != nil {
		t.Fatal(err)
	}
	var news told
	news.watch(t, peer)
	server.Kill()
	await(t, s, "unavailable", func(err error) bool { return errors.Is(err, store.ErrUnavailable) })
	news.await(t, "*")
	await(t, peer, "unavailable", func(err error) bool { return errors.Is(err, store.ErrUnavailable) })
	for name, call := range calls(s) {
		began := time.Now()
		if err := call(ctx); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
	server.Restart()
	up(t, s)
	if e, err := s.Get(ctx, "k"); err != nil || string(e.Value) != "v" {
		t.Errorf("after the restart: %q, %v", e.Value, err)
	}
	up(t, peer)
	if err := s.Apply(ctx, store.Write{Key: "again"}); err != nil {
		t.Fatal(err)
	}
	news.await(t, "again")
}

// A server that takes connections and says nothing is bounded by the timeout, and by the caller's own.
func TestHangingServer(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, redis.Options{Addrs: []string{server.Addr}, Timeout: 300 * time.Millisecond})
	up(t, s)
	var news told
	news.watch(t, s)
	go server.Do("DEBUG", "SLEEP", "3") // seconds
	await(t, s, "unavailable", func(err error) bool { return errors.Is(err, store.ErrUnavailable) })
	// Which clock strikes first, the call's or the connection's, is the machine's choice; both say that time ran out.
	var late net.Error
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, store.ErrUnavailable) || !errors.As(err, &late) || !late.Timeout() {
		t.Errorf("it hangs: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := s.Get(short, "k"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("the caller's own time: %v", err)
	}
	news.await(t, "*")
	up(t, s)
}

func calls(s store.Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"get":   func(ctx context.Context) error { _, err := s.Get(ctx, "k"); return err },
		"many":  func(ctx context.Context) error { _, err := s.Many(ctx, []string{"k"}); return err },
		"list":  func(ctx context.Context) error { _, err := s.List(ctx, "k", "", 1); return err },
		"apply": func(ctx context.Context) error { return s.Apply(ctx, store.Write{Key: "k"}) },
		"update": func(ctx context.Context) error {
			return s.Update(ctx, "k", func(*store.Entry) (*store.Entry, error) { return &store.Entry{}, nil })
		},
		"put new": func(ctx context.Context) error { _, err := s.PutNew(ctx, "k", store.Entry{}); return err },
		"add":     func(ctx context.Context) error { _, err := s.Add(ctx, "k", 1, time.Time{}); return err },
	}
}

func TestFull(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, redis.Options{Addrs: []string{server.Addr}})
	up(t, s)
	if reply := server.Do("CONFIG", "SET", "maxmemory", "1mb"); !strings.HasPrefix(reply, "+OK") {
		t.Fatal(reply)
	}
	w := store.Write{Key: "k", Entry: store.Entry{Value: make([]byte, 2<<20)}}
	if err := s.Apply(t.Context(), w, store.Write{Key: "l"}); !errors.Is(err, store.ErrFull) || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("out of memory: %v", err)
	}
	if reply := server.Do("CONFIG", "SET", "maxmemory", "0"); !strings.HasPrefix(reply, "+OK") {
		t.Fatal(reply)
	}
	if err := s.Apply(t.Context(), w); err != nil {
		t.Errorf("with memory again: %v", err)
	}
}

// A master that became a replica refuses to write: that is a failover, not an end.
func TestReadOnly(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, redis.Options{Addrs: []string{server.Addr}})
	up(t, s)
	other := redistest.Start(t)
	host, port, _ := strings.Cut(other.Addr, ":")
	if reply := server.Do("REPLICAOF", host, port); !strings.HasPrefix(reply, "+OK") {
		t.Fatal(reply)
	}
	for name, call := range map[string]func(context.Context) error{"apply": calls(s)["apply"], "add": calls(s)["add"], "update": calls(s)["update"]} {
		if err := call(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClusterNodeDies(t *testing.T) {
	nodes := redistest.StartCluster(t)
	s := open(t, redis.Options{Addrs: redistest.Addrs(nodes), Cluster: true})
	up(t, s)
	nodes[2].Kill()
	await(t, s, "unavailable", func(err error) bool { return errors.Is(err, store.ErrUnavailable) })
	for i := range 20 {
		if err := s.Apply(t.Context(), store.Write{Key: strings.Repeat("k", i+1)}); err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("without one of three: %v", err)
		}
	}
	nodes[2].Restart()
	redistest.Await(t, "the cluster", func() bool { return strings.Contains(nodes[0].Do("CLUSTER", "INFO"), "cluster_state:ok") })
	up(t, s)
	redistest.Await(t, "writes to every slot", func() bool {
		for i := range 20 {
			if err := s.Apply(t.Context(), store.Write{Key: strings.Repeat("k", i+1)}); err != nil {
				return false
			}
		}
		return true
	})
}

func TestOptions(t *testing.T) {
	for want, o := range map[string]redis.Options{
		"no address":              {},
		"host:port":               {Addrs: []string{"localhost"}},
		"it is one or the other":  {Addrs: []string{"a:1"}, Cluster: true, Master: "m"},
		"a cluster has only 0":    {Addrs: []string{"a:1"}, Cluster: true, DB: 1},
		"say that they are a clu": {Addrs: []string{"a:1", "b:1"}},
		"0 or more":               {Addrs: []string{"a:1"}, DB: -1},
	} {
		if s, err := redis.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
			if s != nil {
				s.Close()
			}
		}
	}
}
