package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// patience bounds connecting, and waiting for a reply after time is up.
const patience = 10 * time.Second

// Client is the generator in Go: a goroutine per connection, raw HTTP/1.1, one request at a time. All connections are
// made before the clock starts; each asks at least once, and what was asked for in time is waited for and counted. It
// understands replies with a Content-Length only, as the measured upstreams give.
func Client(ctx context.Context, job Job) (Result, error) {
	target, err := url.Parse(job.URL)
	if err != nil {
		return Result{}, err
	}
	conns, err := connect(ctx, target.Host, job.Connections)
	if err != nil {
		return Result{}, err
	}
	stop := context.AfterFunc(ctx, func() {
		for _, conn := range conns {
			_ = conn.SetDeadline(time.Unix(1, 0))
		}
	})
	defer stop()

	requests := encode(target, job)
	workers := make([]worker, len(conns))
	var running sync.WaitGroup
	begin := time.Now()
	for i, conn := range conns {
		_ = conn.SetDeadline(begin.Add(job.Duration + patience))
		running.Go(func() { workers[i].err = workers[i].run(conn, requests.stream(uint64(i)), begin.Add(job.Duration)) })
	}
	running.Wait()
	result := Result{Elapsed: time.Since(begin)}
	var times histogram
	var failure error
	for i := range workers {
		_ = conns[i].Close()
		times.add(&workers[i].times)
		result.Errors += workers[i].refused
		if workers[i].err != nil {
			result.Errors++
			failure = workers[i].err
		}
	}
	result.Requests = times.count
	result.P50, result.P99 = times.quantile(0.50), times.quantile(0.99)
	if result.Requests == 0 {
		return result, fmt.Errorf("no request was answered: %w", errors.Join(failure, ctx.Err()))
	}
	return result, ctx.Err()
}

// connect opens n connections, or none.
func connect(ctx context.Context, host string, n int) (conns []net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for range n {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", host)
		if err != nil {
			for _, open := range conns {
				_ = open.Close()
			}
			return nil, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

// template is what is sent: head, and if there is a range of numbers, one of them and tail.
type template struct {
	head, tail   []byte
	first, count int
}

func encode(target *url.URL, job Job) template {
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\n", target.RequestURI(), target.Host)
	for _, h := range job.Header {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	n := job.Numbered
	if n.Count == 0 {
		return template{head: append(b.Bytes(), "\r\n"...)}
	}
	fmt.Fprintf(&b, "%s: %s", n.Name, n.Prefix)
	return template{b.Bytes(), []byte("\r\n\r\n"), n.First, n.Count}
}

// stream returns what gives one connection's requests, each until the next is asked for.
func (t *template) stream(seed uint64) func() []byte {
	if t.count == 0 {
		return func() []byte { return t.head }
	}
	draw, request := rand.New(rand.NewPCG(seed, uint64(time.Now().UnixNano()))), []byte(nil)
	return func() []byte {
		request = append(request[:0], t.head...)
		request = strconv.AppendInt(request, int64(t.first+draw.IntN(t.count)), 10)
		request = append(request, t.tail...)
		return request
	}
}

// worker is one connection's state.
type worker struct {
	times   histogram
	refused int64
	err     error
}

// run asks again and again until the end has passed.
func (w *worker) run(conn net.Conn, next func() []byte, end time.Time) error {
	replies := bufio.NewReader(conn)
	for begin := time.Now(); ; {
		if _, err := conn.Write(next()); err != nil {
			return err
		}
		status, err := readReply(replies)
		if err != nil {
			return err
		}
		now := time.Now()
		w.times.record(now.Sub(begin))
		if status >= 400 {
			w.refused++
		}
		if !now.Before(end) {
			return nil
		}
		begin = now
	}
}

// readReply reads one reply whole and returns its status.
func readReply(r *bufio.Reader) (status int, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(line))
	if len(fields) < 2 {
		return 0, fmt.Errorf("odd status line %q", line)
	}
	if status, err = strconv.Atoi(fields[1]); err != nil {
		return 0, fmt.Errorf("odd status line %q", line)
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("a reply without Content-Length")
	}
	if n, err := r.Discard(length); err != nil {
		return 0, fmt.Errorf("reply ended after %d bytes: %w", n, errors.Join(err, io.ErrUnexpectedEOF))
	}
	return status, nil
}
