package nats

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/remotetest"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/shiptest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a real nats-server, which can be stopped and started again on its port with what it has stored.
type server struct {
	t       *testing.T
	dir     string
	port    int
	process *processtest.Process
}

// newServer starts one whose configuration has more than an address and a place to store things.
func newServer(t *testing.T, more string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), port: shiptest.FreePort(t)}
	config := fmt.Sprintf("listen: \"127.0.0.1:%d\"\njetstream {store_dir: %q}\n%s\n", s.port, s.dir, more)
	if err := os.WriteFile(filepath.Join(s.dir, "server.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	return s
}

func (s *server) start() {
	s.t.Helper()
	p, err := processtest.Spawn("nats-server", s.dir, processtest.Environment(), shiptest.Program(s.t, "nats-server"), "-c", filepath.Join(s.dir, "server.conf"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.process = p
	s.t.Cleanup(p.Kill)
	if _, err := p.Await("Server is ready"); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", s.port) }

// as connects to the server as somebody else.
func (s *server) as(o ...client.Option) client.JetStreamContext {
	s.t.Helper()
	conn, err := client.Connect(s.url(), o...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(conn.Close)
	js, err := conn.JetStream()
	if err != nil {
		s.t.Fatal(err)
	}
	return js
}

func open(t *testing.T, url, more string, h sdk.Host) *sdk.Plugin {
	t.Helper()
	config := fmt.Sprintf(`{"servers":[%q],"batch":{"wait":"20ms"},"retry":{"first":"20ms","max":"200ms","timeout":"1s"}%s}`, url, more)
	p, err := New(t.Context(), json.RawMessage(config), h)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const create = `,"stream":{"create":true}`

func end(t *testing.T, p *sdk.Plugin) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func is(p *sdk.Plugin, name string, n int) func() bool {
	return func() bool { return shiptest.Stat(p, name) == float64(n) }
}

// stored reads the stream from its beginning to its end, in its order. How many messages it has is seen.Len when none is
// there twice.
func stored(t *testing.T, js client.JetStreamContext, look func(*client.Msg)) (seen *shiptest.Seen, all int) {
	t.Helper()
	info, err := js.StreamInfo("TURNBUCKLE")
	if err != nil {
		t.Fatal(err)
	}
	seen, all = shiptest.NewSeen(), int(info.State.Msgs)
	sub, err := js.PullSubscribe("", "", client.BindStream("TURNBUCKLE")) // what is not asked for is not sent, however slow we are
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < all; {
		messages, err := sub.Fetch(min(all-n, 500), client.MaxWait(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			look(m)
			if err := errors.Join(seen.Add(m.Data), m.Ack()); err != nil {
				t.Fatal(err)
			}
		}
		n += len(messages)
	}
	return seen, all
}

// A real server is stopped, killed, and held while records come: everything arrives, in order, and is stored once.
func TestStop(t *testing.T) {
	t.Run("in process", func(t *testing.T) {
		t.Parallel()
		stop(t, shiptest.Count(20_000, 1_000_000), func(_ *testing.T, p *sdk.Plugin) *sdk.Plugin { return p })
	})
	t.Run("out of process", func(t *testing.T) {
		t.Parallel()
		stop(t, 2_000, remotetest.Serve)
	})
}

func stop(t *testing.T, all int, where func(*testing.T, *sdk.Plugin) *sdk.Plugin) {
	t.Helper()
	shiptest.Bounded(t, 256) // of all tests that run at the same time
	s := newServer(t, "")
	p := where(t, open(t, s.url(), `,"stream":{"create":true,"max_size":"4GiB"},"spool":{"size":"2GiB"}`, sdk.Host{Dir: t.TempDir()}))
	n, sent := all/8, 0
	ship := func() {
		shiptest.Ship(t, p, sent, n)
		sent += n
	}
	for _, trouble := range []struct{ begin, end func() }{
		{func() { _ = s.process.Stop() }, s.start}, // which it ends from with status 1
		{func() { s.process.Kill() }, s.start},
		{func() { s.signal(syscall.SIGSTOP) }, func() { s.signal(syscall.SIGCONT) }},
	} {
		ship()
		shiptest.Delivered(t, p, sent-n+1)
		trouble.begin()
		ship()
		shiptest.Until(t, "an outage", is(p, "up", 0))
		trouble.end()
	}
	ship()
	ship()
	shiptest.Delivered(t, p, sent)
	seen, count := stored(t, s.as(), func(m *client.Msg) {
		if m.Subject != "turnbuckle.request.shop.2xx" || m.Header.Get(client.MsgIdHdr) == "" {
			t.Fatalf("subject %s, header %v", m.Subject, m.Header)
		}
	})
	seen.Check(t, 0, sent)
	if count != sent || shiptest.Stat(p, "dropped") != 0 || shiptest.Stat(p, "rejected") != 0 {
		t.Errorf("%d messages stored of %d: %+v", count, sent, p.Stats())
	}
	t.Logf("%d records, %v attempts, %v failed", sent, shiptest.Stat(p, "attempts"), shiptest.Stat(p, "retries"))
	end(t, p)
}

func (s *server) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.process.Signal(sig); err != nil {
		s.t.Error(err)
	}
}

// A gateway that stops while no server is there keeps what it has, does not wait long, and the next one delivers it.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	s.process.Kill()
	dir := t.TempDir()
	p := open(t, s.url(), create, sdk.Host{Dir: dir})
	shiptest.Ship(t, p, 0, 1000)
	end(t, p)
	s.start()
	p = open(t, s.url(), create, sdk.Host{Dir: dir})
	shiptest.Until(t, "what was left", is(p, "delivered", 1000))
	seen, _ := stored(t, s.as(), func(*client.Msg) {})
	seen.Check(t, 0, 1000)
	end(t, p)
}

// A server that takes connections and says nothing holds Close no longer than its grace.
func TestSilent(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	s.signal(syscall.SIGSTOP)
	p := open(t, s.url(), `,"retry":{"first":"1ms","timeout":"1m"}`, sdk.Host{Dir: t.TempDir()})
	shiptest.Ship(t, p, 0, 10)
	shiptest.Until(t, "an attempt", is(p, "attempts", 1))
	begun := time.Now()
	end(t, p)
	if took := time.Since(begun); took > 10*time.Second { // 2 s, and what a busy machine adds
		t.Errorf("Close took %v", took)
	}
}

// What the server or the stream will never take is dropped alone, and what was sent with it arrives once.
func TestRejected(t *testing.T) {
	for _, test := range []struct {
		name, server string
		largest      int32
	}{{"server", "max_payload: 4096", -1}, {"stream", "", 4096}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, test.server)
			if _, err := s.as().AddStream(&client.StreamConfig{Name: "TURNBUCKLE", Subjects: []string{"turnbuckle.>"}, MaxMsgSize: test.largest}); err != nil {
				t.Fatal(err)
			}
			p := open(t, s.url(), "", sdk.Host{Dir: t.TempDir()})
			batch := shiptest.Batch(0, 100)
			batch.Records[42].Error, batch.Records[99].Error = strings.Repeat("x", 8<<10), strings.Repeat("x", 5<<10)
			if err := p.Observers[0].Observer.Observe(t.Context(), batch); err != nil {
				t.Error(err)
			}
			shiptest.Until(t, "an end", func() bool { return shiptest.Stat(p, "delivered")+shiptest.Stat(p, "rejected") == 100 })
			seen, count := stored(t, s.as(), func(*client.Msg) {})
			seen.Check(t, 0, 42)
			seen.Check(t, 43, 56)
			if count != 98 || shiptest.Stat(p, "rejected") != 2 || shiptest.Stat(p, "up") != 1 {
				t.Errorf("%d stored: %+v", count, p.Stats())
			}
			end(t, p)
		})
	}
}

// What can be put right is an outage: nothing is dropped, the log says what it is, and all arrives when it is put right.
func TestPutRight(t *testing.T) {
	right := &client.StreamConfig{Name: "TURNBUCKLE", Subjects: []string{"turnbuckle.>"}}
	for _, test := range []struct {
		name, server, plugin, want string
		wrong                      *client.StreamConfig // the stream that is there
		right                      func(client.JetStreamContext) error
	}{
		{name: "no stream", want: "no stream has the subject", right: func(js client.JetStreamContext) error {
			_, err := js.AddStream(right)
			return err
		}},
		{name: "another stream", want: "expected stream does not match", wrong: &client.StreamConfig{Name: "OTHER", Subjects: []string{"turnbuckle.>"}}, right: func(js client.JetStreamContext) error {
			err := js.DeleteStream("OTHER")
			_, added := js.AddStream(right)
			return errors.Join(err, added)
		}},
		{name: "overlapping stream", want: "overlap", plugin: create, wrong: &client.StreamConfig{Name: "OTHER", Subjects: []string{"turnbuckle.x.>"}}, right: func(js client.JetStreamContext) error {
			return js.DeleteStream("OTHER")
		}},
		{name: "full stream", want: "maximum messages exceeded", wrong: &client.StreamConfig{Name: "TURNBUCKLE", Subjects: []string{"turnbuckle.>"}, MaxMsgs: 1, Discard: client.DiscardNew}, right: func(js client.JetStreamContext) error {
			_, err := js.UpdateStream(right)
			return err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, test.server)
			js := s.as()
			if test.wrong != nil {
				if _, err := js.AddStream(test.wrong); err != nil {
					t.Fatal(err)
				}
			}
			log, said := shiptest.Log()
			p := open(t, s.url(), test.plugin, sdk.Host{Dir: t.TempDir(), Log: log})
			shiptest.Ship(t, p, 0, 10)
			shiptest.Until(t, "an outage", is(p, "up", 0))
			if err := test.right(js); err != nil {
				t.Fatal(err)
			}
			shiptest.Until(t, "all", is(p, "delivered", 10))
			seen, count := stored(t, js, func(*client.Msg) {})
			seen.Check(t, 0, 10)
			if count != 10 || shiptest.Stat(p, "rejected") != 0 || !strings.Contains(said(), test.want) {
				t.Errorf("%d stored: %+v\n%s", count, p.Stats(), said())
			}
			end(t, p)
		})
	}
}

// The stream that is made has the bounds of the settings, and one that is there keeps its own.
func TestCreate(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	js := s.as()
	for _, test := range []struct {
		stream string
		bytes  int64
		age    time.Duration
	}{{`{"create":true}`, 1 << 30, 168 * time.Hour}, {`{"create":true,"max_size":"2MiB","max_age":"1h"}`, 1 << 30, 168 * time.Hour}, {`{"create":true,"name":"MORE","max_size":"2MiB","max_age":"1h"}`, 2 << 20, time.Hour}} {
		subject, name := "turnbuckle.{kind}", "TURNBUCKLE"
		if strings.Contains(test.stream, "MORE") {
			subject, name = "more.{org}.{key}", "MORE"
		}
		p := open(t, s.url(), fmt.Sprintf(`,"subject":%q,"stream":%s`, subject, test.stream), sdk.Host{Dir: t.TempDir()})
		shiptest.Ship(t, p, 0, 10)
		shiptest.Until(t, "all", is(p, "delivered", 10))
		info, err := js.StreamInfo(name)
		if err != nil {
			t.Fatal(err)
		}
		if c := info.Config; c.MaxBytes != test.bytes || c.MaxAge != test.age || c.Storage != client.FileStorage {
			t.Errorf("%s: %+v", test.stream, c)
		}
		end(t, p)
	}
	if m, err := js.GetLastMsg("MORE", "more.acme.key3"); err != nil || !strings.Contains(string(m.Data), `"request_id":"3"`) {
		t.Errorf("%v, %v", m, err)
	}
}

// What is sent again is stored once.
func TestTwice(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	c, err := parse(json.RawMessage(fmt.Sprintf(`{"servers":[%q]%s}`, s.url(), create)))
	if err != nil {
		t.Fatal(err)
	}
	k := &sink{s: c, run: "r"}
	items := []ship.Item{{Seq: 1, Key: []byte("turnbuckle.a"), Body: []byte("{}")}, {Seq: 2, Key: []byte("turnbuckle.b"), Body: []byte("{}")}}
	for range 2 {
		if n, err := k.Send(t.Context(), items); n != 2 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	if info, err := s.as().StreamInfo("TURNBUCKLE"); err != nil || info.State.Msgs != 2 {
		t.Errorf("%+v, %v", info, err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	for _, test := range []struct{ config, want string }{
		{`{}`, "servers"},
		{`{"servers":["nats://a:p@ss@word%zz"]}`, "an address is like"},
		{`{"servers":["http://a:4222"]}`, "an address is like"},
		{`{"servers":["a,b"]}`, "an address is like"},
		{`{"servers":["a"],"stream":{"name":"a.b"}}`, "no name of a stream"},
		{`{"servers":["a"],"subject":"{api}.x"}`, "the first no template"},
		{`{"servers":["a"],"subject":"x..y"}`, "words between dots"},
		{`{"servers":["a"],"subject":"x.{nope}"}`, "subject"},
		{`{"servers":["a"],"subject":"x.>"}`, "wildcards"},
		{`{"servers":["a"],"user":"u","token":"t"}`, "says who we are"},
		{`{"servers":["a"],"password":"p"}`, "no user"},
		{`{"servers":["a"],"nkey":"gone.nk"}`, "gone.nk"},
		{`{"servers":["a"],"tls":{"cert":"x"}}`, "belong together"},
		{`{"servers":["a"],"tls":{"ca":"gone.pem"}}`, "gone.pem"},
		{`{"servers":["a"],"nope":1}`, "nope"},
	} {
		if _, err := New(t.Context(), json.RawMessage(test.config), sdk.Host{}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.config, err, test.want)
		} else if strings.Contains(err.Error(), "word%zz") {
			t.Errorf("a password is told: %v", err)
		}
	}
}
