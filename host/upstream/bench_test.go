package upstream_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
)

// answering is a raw server that answers every request header with reply.
func answering(b testing.TB, reply string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					line, err := r.ReadSlice('\n')
					if err != nil {
						return
					}
					if len(line) == 2 {
						if _, err := io.WriteString(c, reply); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

const smallReply = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 23 Nov 2026 02:46:44 GMT\r\nContent-Type: text/plain\r\n" +
	"Content-Length: 100\r\nConnection: keep-alive\r\nETag: \"5f0\"\r\n\r\n" +
	"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"

func get() *flow.Flow {
	f := request("GET", "/some/path?a=b", "User-Agent: bench", "Accept: */*", "X-Request-Id: 0123456789abcdef")
	f.Out.ForwardedFor, f.Out.ForwardedHost, f.Out.ForwardedProto = "127.0.0.1", "localhost:8080", "http"
	return f
}

func BenchmarkRoundTrip(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		u := open(b, upstream.Options{Targets: targets(answering(b, smallReply)), Timeouts: upstream.Timeouts{Header: 30e9}})
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		b.ReportAllocs()
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			f := get()
			buf := make([]byte, 32<<10)
			for pb.Next() {
				if err := u.RoundTrip(ctx, f); err != nil {
					b.Error(err)
					return
				}
				for {
					if _, err := f.Reply.Body.Read(buf); err != nil {
						break
					}
				}
				f.Reply.Body.Close()
			}
		})
	})
	b.Run("http.Transport", func(b *testing.B) {
		t := &http.Transport{MaxIdleConnsPerHost: 1024, MaxIdleConns: 4096, DisableCompression: true}
		defer t.CloseIdleConnections()
		url := answering(b, smallReply)
		b.ReportAllocs()
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			buf := make([]byte, 32<<10)
			r, _ := http.NewRequestWithContext(b.Context(), "GET", url+"/some/path?a=b", nil)
			r.Header = http.Header{"User-Agent": {"bench"}, "Accept": {"*/*"}, "X-Request-Id": {"0123456789abcdef"},
				"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {"localhost:8080"}, "X-Forwarded-Proto": {"http"}}
			for pb.Next() {
				reply, err := t.RoundTrip(r)
				if err != nil {
					b.Error(err)
					return
				}
				for {
					if _, err := reply.Body.Read(buf); err != nil {
						break
					}
				}
				reply.Body.Close()
			}
		})
	})
}
