package peers

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
)

// Body is what the upstreams answer: 100 bytes.
func Body() string { return strings.Repeat("turnbuckle", 10) }

// NginxConfig is the configuration of the upstream of record: one nginx process on address that answers Body, and
// gives the request header X-Bench back when there is one, which shows that a hook ran.
func NginxConfig(address, dir string) string {
	return fmt.Sprintf(`daemon off;
master_process off;
worker_processes 1;
pid %[2]s/nginx.pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path %[2]s/body;
  proxy_temp_path %[2]s/proxy;
  fastcgi_temp_path %[2]s/fastcgi;
  uwsgi_temp_path %[2]s/uwsgi;
  scgi_temp_path %[2]s/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  default_type text/plain;
  add_header X-Bench $http_x_bench;
  server {
    listen %[1]s reuseport;
    location / { return 200 "%[3]s"; }
  }
}
`, address, dir, Body())
}

// ServeUpstream is the upstream where nginx is not to be had: it answers GET requests as NginxConfig says. It returns
// when the context ends.
func ServeUpstream(ctx context.Context, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return errors.Join(err, ctx.Err())
		}
		serving.Go(func() { answer(ctx, conn) })
	}
}

// answer serves one connection until the peer or the context ends it.
func answer(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	body := Body()
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n", len(body))
	plain := []byte(head + "\r\n" + body)
	requests := bufio.NewReader(conn)
	for {
		hooked, err := readRequest(requests)
		if err != nil {
			return
		}
		reply := plain
		if hooked != "" {
			reply = []byte(head + "X-Bench: " + hooked + "\r\n\r\n" + body)
		}
		if _, err := conn.Write(reply); err != nil {
			return
		}
	}
}

// readRequest reads one request without a body and returns its X-Bench header.
func readRequest(r *bufio.Reader) (hooked string, err error) {
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 && !first {
			return hooked, nil
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("X-Bench")) {
			hooked = string(bytes.TrimSpace(value))
		}
	}
}
