package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

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

// fixedPort returns a port that is free on each host. It is none of those that the kernel gives to outgoing connections,
// one of which could have it when an instance comes back to it.
func fixedPort(t *testing.T, hosts []string) string {
	t.Helper()
	for range 1000 {
		port := fmt.Sprint(15000 + rand.IntN(15000))
		free := true
		for _, host := range hosts {
			l, err := net.Listen("tcp", net.JoinHostPort(host, port))
			if free = free && err == nil; err == nil {
				_ = l.Close()
			}
		}
		if free {
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

// TestRollingRestart: two instances behind one name are restarted in turn, under load and through several hooks of each
// request, in both protocols. No request is lost, and each new instance gets its share.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"plugin", "tykplugin"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			wrap := twoAddresses(t)
			up := start(t, t.TempDir(), environment(), "upstream")
			dir := folder(t, map[string]string{"apis/a.yaml": "listen: {path: /a}\nupstream: {url: \"http://${UP}\"}\n" +
				"hooks: {pre: [{hook: Trail, timeout: 15s}, {hook: Trail, timeout: 15s}], post: [{hook: Trail, timeout: 15s}]}\n"}, map[string]string{"UP": up.address})
			hosts := []string{"127.0.0.1", "127.0.0.2"}
			port := fixedPort(t, hosts)
			instances := []*process{
				instance(t, program, "first-0", net.JoinHostPort(hosts[0], port)), instance(t, program, "second-0", net.JoinHostPort(hosts[1], port)),
			}
			args := append(slices.Clone(wrap), "turnbuckle", "serve", "--listen", "127.0.0.1:0", "--apis", dir+"/apis", "--plugin-server", "dns:///plugin.test:"+port)
			g := start(t, dir, environment(), args...)
			w := startLoad(t, "http://"+g.address+"/a/x")
			w.through(t, "first-0")
			w.through(t, "second-0")
			for n, i := range []int{0, 1, 0, 1} {
				if err := instances[i].stop(); err != nil {
					t.Error(err)
				}
				name := fmt.Sprintf("%s-%d", []string{"first", "second"}[i], n+1)
				instances[i] = instance(t, program, name, net.JoinHostPort(hosts[i], port))
				w.through(t, name)
			}
			w.end(t)
		})
	}
}

// instance starts an instance of a plugin server that knows its name.
func instance(t *testing.T, program, name, address string) *process {
	t.Helper()
	args := []string{program, "-listen", address}
	if program == "tykplugin" {
		args = append(args, "-name", name)
	}
	return start(t, t.TempDir(), environment("PLUGIN_NAME="+name), args...)
}

// load sends requests until it is ended, and knows the instances that they went through.
type load struct {
	url   string
	stop  context.CancelFunc
	ended sync.WaitGroup
	mu    sync.Mutex
	seen  map[string]bool
	count int
	errs  []error
}

// startLoad starts requests, every one of which must go through.
func startLoad(t *testing.T, url string) *load {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{url: url, stop: stop, seen: map[string]bool{}}
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	for range 4 {
		l.ended.Go(func() {
			for ctx.Err() == nil {
				name, err := l.request(t.Context(), transport)
				l.mu.Lock()
				l.count++
				l.seen[name] = true
				if err != nil {
					l.errs = append(l.errs, err)
				}
				l.mu.Unlock()
			}
		})
	}
	t.Cleanup(func() {
		stop()
		l.ended.Wait()
		transport.CloseIdleConnections()
	})
	return l
}

var instanceName = regexp.MustCompile(`(?m)^up > X-From: (\S+)\s*$`)

// request returns the name of the instance that the last hook ran in.
func (l *load) request(ctx context.Context, transport http.RoundTripper) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", l.url, strings.NewReader("body"))
	if err != nil {
		return "", err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var reply strings.Builder
	if err := resp.Write(&reply); err != nil {
		return "", err
	}
	m := instanceName.FindStringSubmatch(reply.String())
	if resp.StatusCode != 200 || m == nil {
		return "", errors.New(reply.String())
	}
	return m[1], nil
}

// through waits until a request has gone through an instance.
func (l *load) through(t *testing.T, name string) {
	t.Helper()
	until(t, "a request through "+name, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.seen[name]
	})
}

// end ends the requests. Each that failed fails the test.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.ended.Wait()
	if len(l.errs) > 0 {
		t.Errorf("%d of %d requests failed, such as: %v", len(l.errs), l.count, errors.Join(l.errs[:min(len(l.errs), 3)]...))
	}
}
