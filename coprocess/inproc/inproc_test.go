package inproc_test

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/inproc"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSuite(t *testing.T) {
	coprocesstest.Run(t, func(t *testing.T, p *sdk.Plugin) coprocess.Server {
		s, err := inproc.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	})
}

func TestClose(t *testing.T) {
	closed := 0
	broken := errors.New("broken")
	s, err := inproc.Open(&sdk.Plugin{Name: "p", Close: func() error { closed++; return broken }})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), s.Close()); !errors.Is(err, broken) || closed != 1 {
		t.Errorf("got %v, closed %d times", err, closed)
	}
	if _, err := inproc.Open(&sdk.Plugin{}); err == nil {
		t.Error("a plugin without name was opened")
	}
	if err := s.Observer("none").Observe(context.Background(), sdk.Batch{}); !errors.Is(err, sdk.ErrUnimplemented) {
		t.Errorf("got %v", err)
	}
}
