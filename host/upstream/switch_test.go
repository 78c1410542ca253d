package upstream_test

import (
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// informed is a client that takes interim replies.
type informed struct {
	flow.Client
	mu  sync.Mutex
	got []string
	err error
}

func (i *informed) WriteInfo(status int, h *sdk.Header) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := string(rune('0'+status/100)) + string(rune('0'+status/10%10)) + string(rune('0'+status%10))
	for _, f := range h.Fields() {
		s += "|" + f.Name + ": " + f.Value
	}
	i.got = append(i.got, s)
	return i.err
}

func TestInterimReplies(t *testing.T) {
	reply := "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\nlink: </b>\r\n\r\n" +
		"HTTP/1.1 102 Processing\r\n\r\n" + ok
	s := serve(t, always(reply))
	u := open(t, upstream.Options{Targets: targets(s.url)})
	client := &informed{}
	f := request("GET", "/")
	f.Client = client
	if err := u.RoundTrip(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	read(f)
	if diff := cmp.Diff([]string{"103|Link: </a>|link: </b>", "102"}, client.got); diff != "" {
		t.Error(diff)
	}
	t.Run("client is gone", func(t *testing.T) {
		f := request("GET", "/")
		f.Client = &informed{err: errors.New("broken pipe")}
		if err := u.RoundTrip(t.Context(), f); err == nil {
			t.Error("got no error")
		}
	})
}

func TestExpect(t *testing.T) {
	tests := []struct {
		name  string
		first string // said after the header
		body  string // what the target gets
		want  int
		waits bool // the first is said only when the body came
	}{
		{name: "continue", first: "HTTP/1.1 100 Continue\r\n\r\n", body: "hello", want: 200},
		{name: "hints before", first: "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", body: "hello", want: 200},
		{name: "refused", first: "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n", want: 417},
		{name: "no answer", body: "hello", want: 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			heads, bodies := make(chan string, 1), make(chan string, 1)
			s := serve(t, func(_ int, c *rawConn) {
				heads <- c.head()
				c.say(tt.first)
				bodies <- c.take(len(tt.body))
				if tt.want == 200 {
					c.say(ok)
				}
				bodies <- c.rest()
			})
			u := open(t, upstream.Options{Targets: targets(s.url)})
			f := sized(request("POST", "/"), "hello", 5)
			f.Expect = true
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			if got, err := read(f); err != nil || got.status != tt.want {
				t.Errorf("got %d, %v", got.status, err)
			}
			host := s.url[len("http://"):]
			if diff := cmp.Diff("POST / HTTP/1.1\r\nHost: "+host+"\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", <-heads); diff != "" {
				t.Error(diff)
			}
			if got := <-bodies; got != tt.body {
				t.Errorf("the target got %q, want %q", got, tt.body)
			}
			if tt.want != 200 {
				if got := <-bodies; got != "" {
					t.Errorf("the target got %q after it had refused", got)
				}
			}
		})
	}
}

// A body that is at hand needs nobody's leave.
func TestExpectIsDroppedForBufferedBody(t *testing.T) {
	s := serve(t, func(_ int, c *rawConn) {
		if got, want := c.head(), "Expect"; len(got) == 0 || contains(got, want) {
			t.Errorf("got %q", got)
		}
		c.take(5)
		c.say(ok)
	})
	u := open(t, upstream.Options{Targets: targets(s.url)})
	f := buffered(request("POST", "/"), "hello")
	f.Expect = true
	if err := u.RoundTrip(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	read(f)
}

func TestUpgrade(t *testing.T) {
	sent := make(chan string, 1)
	s := serve(t, func(_ int, c *rawConn) {
		sent <- c.head()
		c.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nearly")
		io.Copy(c.Conn, c.r)
	})
	for _, protocol := range []upstream.Protocol{upstream.Auto, upstream.H2C} {
		t.Run(string(protocol), func(t *testing.T) {
			u := open(t, upstream.Options{Targets: targets(s.url), Protocol: protocol})
			f := request("GET", "/chat", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k")
			f.Upgrade = "websocket"
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			want := "GET /chat HTTP/1.1\r\nHost: " + s.url[len("http://"):] + "\r\nSec-WebSocket-Key: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
			if diff := cmp.Diff(want, <-sent); diff != "" {
				t.Error(diff)
			}
			if h := f.X.Response().Header(); f.X.Response().Status() != 101 || h.Get("Upgrade") != "WebSocket" || h.Get("Sec-WebSocket-Accept") != "x" {
				t.Errorf("got %d %v", f.X.Response().Status(), h.Fields())
			}
			if got := u.Targets()[0].InFlight; got != 1 {
				t.Errorf("got %d in flight, want 1", got)
			}
			b := make([]byte, 9)
			io.WriteString(f.Reply.Upgraded, "ping")
			if _, err := io.ReadFull(f.Reply.Upgraded, b); err != nil || string(b) != "earlyping" {
				t.Errorf("got %q, %v", b, err)
			}
			f.Reply.Upgraded.(interface{ CloseWrite() error }).CloseWrite()
			if n, err := f.Reply.Upgraded.Read(b); n != 0 || err != io.EOF {
				t.Errorf("got %d, %v after half-close, want EOF", n, err)
			}
			f.Reply.Upgraded.Close()
			f.Reply.Upgraded.Close()
			if got := u.Targets()[0].InFlight; got != 0 {
				t.Errorf("got %d in flight, want 0", got)
			}
		})
	}
}

func TestUpgradeRefused(t *testing.T) {
	tests := []struct {
		name, reply string
		status      int
	}{
		{"declined", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", 200},
		{"another protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 502},
		{"no protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n", 502},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, always(tt.reply))
			u := open(t, upstream.Options{Targets: targets(s.url)})
			f := request("GET", "/")
			f.Upgrade = "websocket, other/1"
			err := u.RoundTrip(t.Context(), f)
			if tt.status == 502 {
				refused(t, err, 502)
				return
			}
			if got, err := read(f); err != nil || got.body != "no" {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}
