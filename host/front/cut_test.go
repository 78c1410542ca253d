package front

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
)

var versions = map[string]bool{"HTTP/1": false, "HTTP/2": true}

// soon waits for something that has been caused.
func soon[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(bounded):
		t.Errorf("%s did not come", what)
	}
	return v
}

// A read of the body that waits for the client ends when the body is closed or the client cut.
func TestReadEnds(t *testing.T) {
	for name, end := range map[string]func(f *flow.Flow){
		"body closed": func(f *flow.Flow) { _ = f.Body.Close() },
		"client cut":  func(f *flow.Flow) { f.Client.(flow.Cutter).Cut() },
	} {
		for version, two := range versions {
			t.Run(name+", "+version, func(t *testing.T) {
				upload, more := io.Pipe()
				f := start(t, Options{H2C: true}, func(f *flow.Flow) {
					defer more.Close() //nolint:errcheck // a pipe
					var p [5]byte
					if _, err := io.ReadFull(f.Body, p[:]); err != nil {
						t.Error(err)
					}
					read := make(chan error, 1)
					go func() {
						_, err := f.Body.Read(p[:])
						read <- err
					}()
					end(f)
					if err := soon(t, "the read's end", read); err == nil || errors.Is(err, io.EOF) {
						t.Errorf("read: %v, want an error", err)
					}
					reply(f, 503, "over")
				})
				go func() { _, _ = io.WriteString(more, "begin") }()
				resp, err := plainClient(t, two).Post("http://"+f.Addr().String()+"/", "text/plain", upload)
				if err == nil {
					_ = resp.Body.Close()
				}
			})
		}
	}
}

// A write that waits for the client ends when the client is cut.
func TestWriteEnds(t *testing.T) {
	for version, two := range versions {
		t.Run(version, func(t *testing.T) {
			f := start(t, Options{H2C: true, WriteStall: time.Hour}, func(f *flow.Flow) {
				f.Client.WriteHeader(200, header(), -1)
				if err := f.Client.Flush(); err != nil {
					t.Error(err)
				}
				wrote := make(chan error, 1)
				go func() {
					_, err := io.Copy(f.Client, endless{})
					wrote <- err
				}()
				f.Client.(flow.Cutter).Cut()
				if err := soon(t, "the write's end", wrote); err == nil {
					t.Error("everything was written")
				}
				panic(flow.ErrAbort)
			})
			c := plainClient(t, two)
			resp, err := c.Get("http://" + f.Addr().String() + "/") // and the body is left alone
			if err == nil {
				t.Cleanup(func() { _ = resp.Body.Close() })
			}
			_ = f.Shutdown(t.Context())
		})
	}
}

// endless is a body that has no end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
