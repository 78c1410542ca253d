package serve

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestCallContextDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, asked := range []bool{false, true} {
			c := &callContext{parent: t.Context(), deadline: time.Now().Add(time.Second)}
			if asked {
				defer c.end()
				c.Done()
			}
			if d, ok := c.Deadline(); !ok || !d.Equal(c.deadline) {
				t.Errorf("got deadline %v, %v", d, ok)
			}
			if err := c.Err(); err != nil {
				t.Fatalf("ended at once: %v", err)
			}
			<-time.After(time.Second) // of synctest's clock
			synctest.Wait()
			if err := c.Err(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Done asked before %v: got %v at the deadline", asked, err)
			}
			<-c.Done()
			c.end()
			if err := c.Err(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the reason changed to %v", err)
			}
		}
	})
}

func TestCallContextEnd(t *testing.T) {
	for _, asked := range []bool{false, true} {
		c := &callContext{parent: t.Context(), deadline: time.Now().Add(time.Hour)}
		if asked {
			c.Done()
		}
		c.end()
		<-c.Done()
		if err := c.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("Done asked before %v: got %v", asked, err)
		}
	}
}

func TestCallContextFollowsItsStream(t *testing.T) {
	type key struct{}
	parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
	lazy := &callContext{parent: parent}
	asked := &callContext{parent: parent}
	child, stop := context.WithTimeout(asked, time.Hour)
	defer stop()
	if lazy.Value(key{}) != "v" || asked.Value(key{}) != "v" || child.Value(key{}) != "v" {
		t.Error("values of the stream's context are missing")
	}
	if _, ok := lazy.Deadline(); ok {
		t.Error("a deadline from nowhere")
	}
	cancel()
	<-child.Done()
	<-lazy.Done()
	if lazy.Err() == nil || asked.Err() == nil {
		t.Error("Err is nil after the stream ended")
	}
	lazy.end()
	asked.end()
}
