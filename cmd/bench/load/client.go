package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Client is the generator in Go: a goroutine per connection, raw HTTP/1.1, one request at a time. It understands
// replies with a Content-Length only, as the measured upstreams give.
func Client(ctx context.Context, job Job) (Result, error) {
	target, err := url.Parse(job.URL)
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, job.Duration)
	defer cancel()
	request := encode(target, job.Header)
	workers := make([]worker, job.Connections)
	var running sync.WaitGroup
	begin := time.Now()
	for i := range workers {
		w := &workers[i]
		running.Go(func() { w.err = w.run(ctx, target.Host, request) })
	}
	running.Wait()
	total := worker{}
	result := Result{Elapsed: time.Since(begin)}
	var failures []error
	for i := range workers {
		total.times.add(&workers[i].times)
		result.Errors += workers[i].refused
		if workers[i].err != nil {
			result.Errors++
			failures = append(failures, workers[i].err)
		}
	}
	result.Requests = total.times.count
	result.P50, result.P99 = total.times.quantile(0.50), total.times.quantile(0.99)
	if result.Requests == 0 {
		return result, fmt.Errorf("no request was answered: %w", errors.Join(failures...))
	}
	return result, nil
}

func encode(target *url.URL, header [][2]string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\n", target.RequestURI(), target.Host)
	for _, h := range header {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// worker is one connection's state.
type worker struct {
	times   histogram
	refused int64
	err     error
}

// run asks until the context ends; that it ends in the middle of a reply is no error.
func (w *worker) run(ctx context.Context, host string, request []byte) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	replies := bufio.NewReader(conn)
	for {
		begin := time.Now()
		if _, err := conn.Write(request); err != nil {
			return unlessEnded(ctx, err)
		}
		status, err := readReply(replies)
		if err != nil {
			return unlessEnded(ctx, err)
		}
		w.times.record(time.Since(begin))
		if status >= 400 {
			w.refused++
		}
	}
}

func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
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
