package nativepython_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/examples/internal/gatewaytest"
)

// Two instances behind one name, restarted in turn under load, lose no request.
func (f fixture) rollingRestart(t *testing.T) {
	f.wrap = twoAddresses(t)
	one := f.listen(t, "127.0.0.1:0")
	_, port, _ := strings.Cut(one.Await(t, `^listening on (\S+)$`)[1], ":")
	instances := map[string]*gatewaytest.Process{"127.0.0.1": one, "127.0.0.2": f.listen(t, "127.0.0.2:"+port)}
	g := f.serve(t, "dns:///plugin.test:"+port, f.definition)
	w := work(t, g)
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.1"} {
		w.through(t, instances[host])
		if err := instances[host].Stop(); err != nil {
			t.Error(err)
		}
		instances[host].Await(t, `^stopped$`)
		instances[host] = f.listen(t, host+":"+port)
		w.through(t, instances[host])
	}
	if n := w.end(t); n != 0 {
		t.Errorf("%d requests failed", n)
	}
}

// twoAddresses returns the start of a command that runs the rest of it where the name plugin.test has two addresses.
func twoAddresses(t *testing.T) []string {
	t.Helper()
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost\n127.0.0.1 plugin.test\n127.0.0.2 plugin.test\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	wrap := []string{"unshare", "--user", "--map-root-user", "--mount", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, hosts}
	if out, err := exec.CommandContext(t.Context(), wrap[0], append(wrap[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("no mount namespace of one's own here, and so no name with two addresses: %v: %s", err, out)
	}
	return wrap
}

// An instance that takes the socket's path over from one that stops: the gateway moves from one to the other without a
// failed request.
func (f fixture) takeover(t *testing.T) {
	f.socket = socket(t)
	plugin := f.plugin(t)
	w := work(t, f.gateway(t, f.definition))
	for range 3 {
		w.through(t, plugin)
		next := f.plugin(t)
		if err := plugin.Stop(); err != nil {
			t.Error(err)
		}
		plugin.Await(t, `^stopped$`)
		plugin = next
	}
	w.through(t, plugin)
	if n := w.end(t); n != 0 {
		t.Errorf("%d requests failed", n)
	}
}

// An instance that drains and that nobody takes over from: what it has is answered, and then there is none.
func (f fixture) drained(t *testing.T) {
	f.socket = socket(t)
	plugin := f.listen(t, "unix:"+f.socket, "--linger", "0")
	calledOnce, _, _ := strings.Cut(f.definition, "  auth:") // no later hook that would find nobody
	g := f.gateway(t, calledOnce)
	held := make(chan error, 1)
	go func() {
		r, err := g.Try(t.Context(), "GET", "/native/x", "", key, "X-Sleep: 0.3")
		held <- errors.Join(err, r.Check(200))
	}()
	plugin.Await(t, `^sleeping$`)
	plugin.Terminate()
	if err := <-held; err != nil {
		t.Error(err)
	}
	plugin.Await(t, `^stopped$`)
	wantReply(t, g.Do(t, "GET", "/native/x", "", key), 503, "")
}

// While there is no server requests fail as the policy says, and well again when there is one.
func (f fixture) killed(t *testing.T) {
	f.socket = socket(t)
	plugin := f.plugin(t)
	g := f.gateway(t, f.definition)
	wantReply(t, g.Do(t, "GET", "/native/x", "", key), 200, "")
	plugin.Kill()
	wantReply(t, g.Do(t, "GET", "/native/x", "", key), 503, "")
	if err := os.Remove(f.socket); err != nil {
		t.Fatal(err)
	}
	f.plugin(t)
	gatewaytest.Until(t, "a request through the new instance", func() bool {
		r := g.Do(t, "GET", "/native/x", "", key)
		if r.Status != 200 && r.Status != 503 {
			t.Fatalf("status %d with %q", r.Status, r.Body)
		}
		return r.Status == 200
	})
}

// worker sends requests until it is ended, and knows the instances that they went through.
type worker struct {
	stop      chan struct{}
	ended     sync.WaitGroup
	instances sync.Map
	mu        sync.Mutex
	errs      []error
}

// work starts requests, each of which must go through.
func work(t *testing.T, g *gatewaytest.Gateway) *worker {
	w := &worker{stop: make(chan struct{})}
	for range 4 {
		w.ended.Go(func() {
			for {
				select {
				case <-w.stop:
					return
				default:
				}
				if err := w.request(t, g); err != nil {
					w.mu.Lock()
					w.errs = append(w.errs, err)
					w.mu.Unlock()
				}
			}
		})
	}
	return w
}

func (w *worker) request(t *testing.T, g *gatewaytest.Gateway) error {
	r, err := g.Try(t.Context(), "GET", "/native/x", "", key)
	if err != nil {
		return err
	}
	if err := r.Check(200); err != nil {
		return err
	}
	w.instances.Store(r.Seen(t).Header.Get("X-Instance"), true)
	return nil
}

// through waits until a request has gone through an instance.
func (w *worker) through(t *testing.T, instance *gatewaytest.Process) {
	t.Helper()
	gatewaytest.Until(t, "a request through the instance", func() bool {
		_, ok := w.instances.Load(fmt.Sprint(instance.Pid()))
		return ok
	})
}

// end ends the requests and returns how many failed, of which it logs some.
func (w *worker) end(t *testing.T) int {
	t.Helper()
	close(w.stop)
	w.ended.Wait()
	if len(w.errs) > 0 {
		t.Log(errors.Join(w.errs[:min(len(w.errs), 5)]...))
	}
	return len(w.errs)
}
