package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
)

// request is what the http command sends.
type request struct {
	method, url, host, body, bodyFile string
	header                            headers
	h2c, expect                       bool
}

type headers []string

func (h *headers) String() string     { return strings.Join(*h, "; ") }
func (h *headers) Set(s string) error { *h = append(*h, s); return nil }

func parseRequest(args []string) (*request, error) {
	r := &request{}
	f := flag.NewFlagSet("http", flag.ContinueOnError)
	f.StringVar(&r.method, "X", "GET", "method")
	f.StringVar(&r.host, "host", "", "Host header")
	f.StringVar(&r.body, "d", "", "body")
	f.StringVar(&r.bodyFile, "D", "", "file with the body")
	f.Var(&r.header, "H", "header line")
	f.BoolVar(&r.h2c, "h2c", false, "HTTP/2 with prior knowledge")
	f.BoolVar(&r.expect, "expect", false, "wait for 100 Continue before the body")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() != 1 {
		return nil, fmt.Errorf("usage: http [FLAGS] URL: got %q", f.Args())
	}
	r.url = f.Arg(0)
	return r, nil
}

// send sends a request and writes the whole exchange out as text: interim replies, status, headers in order of their
// names, an empty line, body, trailers. A body that is cut short ends in a line that says so.
func (r *request) send(ctx context.Context) (string, error) {
	var out strings.Builder
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		fmt.Fprintf(&out, "interim %d\n", code)
		writeHeader(&out, http.Header(h))
		return nil
	}}
	var body io.Reader
	if r.body != "" {
		body = strings.NewReader(r.body)
	}
	if r.bodyFile != "" {
		data, err := os.ReadFile(r.bodyFile)
		if err != nil {
			return "", err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), r.method, r.url, body)
	if err != nil {
		return "", err
	}
	req.Host = r.host
	for _, line := range r.header {
		name, value, _ := strings.Cut(line, ":")
		req.Header[http.CanonicalHeaderKey(name)] = append(req.Header[http.CanonicalHeaderKey(name)], strings.TrimSpace(value))
	}
	if r.expect {
		req.Header.Set("Expect", "100-continue")
	}
	t := &http.Transport{
		DisableCompression: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: !r.h2c,
		ExpectContinueTimeout: patience, Protocols: new(http.Protocols),
	}
	t.Protocols.SetHTTP1(!r.h2c)
	t.Protocols.SetHTTP2(!r.h2c)
	t.Protocols.SetUnencryptedHTTP2(r.h2c)
	defer t.CloseIdleConnections()
	resp, err := t.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	fmt.Fprintf(&out, "%s %s\n", resp.Proto, resp.Status)
	writeHeader(&out, resp.Header)
	out.WriteString("\n")
	data, err := io.ReadAll(resp.Body)
	out.Write(data)
	if err != nil {
		fmt.Fprintf(&out, "\n(cut: %v)\n", err)
	}
	if len(resp.Trailer) > 0 {
		out.WriteString("\n(trailer)\n")
		writeHeader(&out, resp.Trailer)
	}
	return out.String(), nil
}

func writeHeader(w io.Writer, h http.Header) {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range h[name] {
			fmt.Fprintf(w, "%s: %s\n", name, v)
		}
	}
}

type result struct {
	text string
	err  error
}

// cmdHTTP: http [FLAGS] URL prints the reply. With !, there must be none.
func cmdHTTP(ts *testscript.TestScript, neg bool, args []string) {
	r := scriptRequest(ts, args)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	text, err := r.send(ctx)
	if neg {
		if err == nil {
			ts.Fatalf("there is a reply:\n%s", text)
		}
		fmt.Fprintln(ts.Stderr(), err)
		return
	}
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), text)
}

func scriptRequest(ts *testscript.TestScript, args []string) *request {
	r, err := parseRequest(args)
	ts.Check(err)
	if r.bodyFile != "" {
		r.bodyFile = ts.MkAbs(r.bodyFile)
	}
	return r
}

// cmdUntil: until REGEXP [FLAGS] URL asks until the reply matches, and prints it.
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	no(ts, neg, args, 2, "until REGEXP [HTTP FLAGS] URL")
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	r := scriptRequest(ts, args[1:])
	var text string
	if !processtest.Poll(func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		text, err = r.send(ctx)
		return err == nil && re.MatchString(text)
	}) {
		ts.Fatalf("no reply matched; the last:\n%s%v", text, err)
	}
	fmt.Fprint(ts.Stdout(), text)
}

// cmdBegin: begin NAME [FLAGS] URL sends a request in the background.
func cmdBegin(ts *testscript.TestScript, neg bool, args []string) {
	no(ts, neg, args, 2, "begin NAME [HTTP FLAGS] URL")
	r := scriptRequest(ts, args[1:])
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	ended := make(chan result, 1)
	go func() {
		defer cancel()
		text, err := r.send(ctx)
		ended <- result{text, err}
	}()
	of(ts).pending[args[0]] = ended
	ts.Defer(cancel)
}

// cmdFinish: finish NAME waits for the reply to a request in the background and prints it. With !, there must be none.
func cmdFinish(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || of(ts).pending[args[0]] == nil {
		ts.Fatalf("usage: [!] finish NAME, of a request that was begun")
	}
	r := <-of(ts).pending[args[0]]
	delete(of(ts).pending, args[0])
	if neg != (r.err != nil) {
		ts.Fatalf("got %v, reply:\n%s", r.err, r.text)
	}
	fmt.Fprint(ts.Stdout(), r.text)
}

// cmdRaw: raw ADDRESS FILE sends a file's bytes, its line ends as CR LF, and prints what comes until the connection
// closes.
func cmdRaw(ts *testscript.TestScript, neg bool, args []string) {
	no(ts, neg, args, 2, "raw ADDRESS FILE")
	text := strings.ReplaceAll(ts.ReadFile(args[1]), "\n", "\r\n")
	reply, err := exchangeRaw(args[0], text)
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), strings.ReplaceAll(reply, "\r\n", "\n"))
}

// exchangeRaw sends text and returns everything that comes until the peer closes.
func exchangeRaw(address, text string) (string, error) {
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	reply, err := io.ReadAll(c)
	return string(reply), err
}

// ask sends a request for a Go test and returns the reply as text.
func ask(t *testing.T, args ...string) string {
	t.Helper()
	r, err := parseRequest(args)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	text, err := r.send(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
