// Package unary holds plugin servers to the part of PROTOCOL.md that is Tyk's protocol.
package unary

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/kit"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/report"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
)

// Cases are those of Tyk's protocol, call by call.
func Cases() []kit.Case {
	hooks := []string{conformance.Hook}
	return []kit.Case{
		{ID: "tyk/event", Protocol: report.Tyk, Section: "2.6", Title: "DispatchEvent takes events", Run: onDispatcher(tykEvent)},
		{ID: "tyk/unknown-hook", Protocol: report.Tyk, Section: "2", Title: "a hook that is not there is an error, or changes nothing", Run: onDispatcher(tykUnknown)},
		{ID: "tyk/grease", Protocol: report.Tyk, Section: "2.1", Title: "fields that the server does not know do no harm", Run: onDispatcher(tykGrease)},
		{ID: "tyk/garbage", Protocol: report.Tyk, Section: "2.2", Title: "what is no Object is an error, and the server serves on", Run: tykGarbage},
		{ID: "tyk/large", Protocol: report.Tyk, Section: "1.1", Title: "an Object of 4 MiB is taken", Run: onDispatcher(tykLarge)},
		{ID: "tyk/set-headers", Protocol: report.Tyk, Section: "2.2", Title: "changes are in set_headers and delete_headers", Hooks: hooks, Run: onDispatcher(tykHeaders)},
		{ID: "tyk/echo", Protocol: report.Tyk, Section: "2.4", Title: "what the hook did not change comes back", Hooks: hooks, Run: onDispatcher(tykEcho)},
		{ID: "tyk/deadline", Protocol: report.Tyk, Section: "2", Title: "a call ends at its deadline, and the server serves on", Hooks: hooks, Run: onDispatcher(tykDeadline)},
		{ID: "tyk/slow", Protocol: report.Tyk, Section: "2", Title: "a slow call does not hold others", Hooks: hooks, Run: onDispatcher(tykSlow)},
		{ID: "tyk/many", Protocol: report.Tyk, Section: "2", Title: "each of many calls at once gets its own reply", Hooks: hooks, Run: onDispatcher(tykMany)},
		{ID: "server/stop-tyk", Protocol: report.Tyk, Section: "1.7", Title: "a server that is told to end answers what runs, and ends", Hooks: []string{conformance.Hook}, Run: stopTyk},
	}
}

func onDispatcher(run func(ctx context.Context, t *kit.Trial, c tykpb.DispatcherClient) error) func(context.Context, *kit.Trial) error {
	return func(ctx context.Context, t *kit.Trial) error {
		conn, err := t.Subject.At.Client()
		if err != nil {
			return err
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(ctx, 2*t.Subject.Options.Patience)
		defer cancel()
		return run(ctx, t, tykpb.NewDispatcherClient(conn))
	}
}

func pre(list ...conformance.Step) *tykpb.Object {
	return kit.Object(conformance.Hook, tykpb.HookType_Pre, list...)
}

func tykEvent(ctx context.Context, t *kit.Trial, c tykpb.DispatcherClient) error {
	for _, payload := range []string{kit.EventPayload, `{"message": {"Type": "NobodyKnows", "Meta": null, "TimeStamp": ""}, "handler_name": "nobody", "spec": {}}`} {
		if !json.Valid([]byte(payload)) {
			return fmt.Errorf("not JSON: %s", payload)
		}
		if _, err := c.DispatchEvent(ctx, &tykpb.Event{Payload: payload}); err != nil {
			t.Fail("event %.60s…: %v", payload, err)
		}
	}
	return nil
}

func tykUnknown(ctx context.Context, t *kit.Trial, c tykpb.DispatcherClient) error {
	reply, err := c.Dispatch(ctx, kit.Object(kit.Absent, tykpb.HookType_Pre))
	if err != nil {
		t.Note("%v", status.Code(err))
		return alive(ctx, c)
	}
	r := reply.GetRequest()
	if len(r.GetSetHeaders())+len(r.GetDeleteHeaders()) > 0 || r.GetReturnOverrides().GetResponseCode() > 0 {
		t.Fail("it changed the request: %v", r)
	}
	return alive(ctx, c)
}

// alive checks that a server takes calls, whatever it answers.
func alive(ctx context.Context, c tykpb.DispatcherClient) error {
	_, err := c.Dispatch(ctx, kit.Object(kit.Absent, tykpb.HookType_Pre))
	if code := status.Code(err); code == codes.Unavailable || code == codes.DeadlineExceeded {
		return fmt.Errorf("afterwards: %w", err)
	}
	return nil
}

func tykGrease(ctx context.Context, t *kit.Trial, c tykpb.DispatcherClient) error {
	o := kit.Greased(kit.Object(kit.Absent, 99))
	kit.Greased(o.Request)
	o.Response = kit.Greased(&tykpb.ResponseObject{})
	o.Session = kit.Greased(&tykpb.SessionState{})
	_, err := c.Dispatch(ctx, o)
	switch code := status.Code(err); code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.InvalidArgument:
		t.Fail("%v", err)
	}
	return alive(ctx, c)
}

func tykGarbage(ctx context.Context, t *kit.Trial) error {
	conn, err := t.Subject.At.Client()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, t.Subject.Options.Patience)
	defer cancel()
	for _, bad := range [][]byte{{0x1a, 0xff, 0x01}, {0x08}, {0x00}} {
		var in rawcodec.In
		err := conn.Invoke(ctx, tykpb.Dispatcher_Dispatch_FullMethodName, &rawcodec.Out{Buffers: mem.BufferSlice{mem.SliceBuffer(bad)}}, &in)
		if err == nil {
			t.Fail("% x was taken", bad)
		}
	}
	return alive(ctx, tykpb.NewDispatcherClient(conn))
}

func tykLarge(ctx context.Context, t *kit.Trial, c tykpb.DispatcherClient) error {
	o := kit.Object(kit.Absent, tykpb.HookType_Pre)
	o.Request.Body, o.Request.RawBody = "", bytes.Repeat([]byte{0xff}, kit.MessageBytes-1024)
	if _, err := c.Dispatch(ctx, o); status.Code(err) == codes.ResourceExhausted {
		t.Fail("%v", err)
	}
	return alive(ctx, c)
}

func tykHeaders(ctx context.Context, t *kit.Trial, c tykpb.DispatcherClient) error {
	reply, err := c.Dispatch(ctx, pre(kit.Mark(), conformance.Step{Do: "del_header", Name: "X-One"}))
	if err != nil {
		return err
	}
	r := reply.GetRequest()
	if r.GetSetHeaders()["X-Mark"] != "done" || len(r.GetSetHeaders()) != 1 || len(r.GetDeleteHeaders()) != 1 || r.GetDeleteHeaders()[0] != "X-One" {
		t.Fail("set_headers %v and delete_headers %v, want X-Mark and X-One", r.GetSetHeaders(), r.GetDeleteHeaders())
	}
	return nil
}

func tykEcho(ctx context.Context, t *kit.Trial, c tykpb.DispatcherClient) error {
	reply, err := c.Dispatch(ctx, pre(kit.Mark()))
	if err != nil {
		return err
	}
	r := reply.GetRequest()
	if r == nil {
		t.Fail("the reply has no request: the gateway takes no change from it")
		return nil
	}
	if r.Url != "/conform/x?q=1" || r.Method != "POST" || string(r.RawBody) != "text" || r.GetReturnOverrides().GetResponseCode() > 0 {
		t.Fail("the hook set one header, and this came back: %v", r)
	}
	if !r.Echo {
		t.Note("field 100, echo, does not come back: the gateway goes by 2.4 for servers that drop what they do not know")
	}
	return nil
}

func tykDeadline(ctx context.Context, t *kit.Trial, c tykpb.DispatcherClient) error {
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := c.Dispatch(short, pre(conformance.Step{Do: "sleep", MS: 1500})); status.Code(err) != codes.DeadlineExceeded {
		t.Fail("got %v, want a deadline exceeded", err)
	}
	_, err := c.Dispatch(ctx, pre(kit.Mark()))
	return err
}

func tykSlow(ctx context.Context, t *kit.Trial, c tykpb.DispatcherClient) error {
	slow := make(chan error, 1)
	go func() {
		_, err := c.Dispatch(ctx, pre(conformance.Step{Do: "sleep", MS: 1500}))
		slow <- err
	}()
	for range 20 {
		if _, err := c.Dispatch(ctx, pre(kit.Mark())); err != nil {
			<-slow
			return err
		}
	}
	select {
	case err := <-slow:
		t.Fail("the slow call ended (%v) before 20 quick ones: it sleeps for 1.5 s", err)
		return nil
	default:
		return <-slow
	}
}

func tykMany(ctx context.Context, t *kit.Trial, c tykpb.DispatcherClient) error {
	var all sync.WaitGroup
	errs := make([]error, 100)
	for i := range errs {
		all.Go(func() {
			want := fmt.Sprint(i)
			reply, err := c.Dispatch(ctx, pre(conformance.Step{Do: "set_header", Name: "X-Mark", Value: want}))
			if errs[i] = err; err == nil && reply.GetRequest().GetSetHeaders()["X-Mark"] != want {
				errs[i] = fmt.Errorf("call %d got another's reply: %v", i, reply.GetRequest().GetSetHeaders())
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func stopTyk(ctx context.Context, t *kit.Trial) error {
	own, p, err := t.Another(ctx)
	if err != nil {
		return err
	}
	conn, err := own.Subject.At.Client()
	if err != nil {
		return errors.Join(err, p.Stop(ctx))
	}
	defer conn.Close()
	client := tykpb.NewDispatcherClient(conn)
	done := make(chan error, 1)
	if _, err = client.Dispatch(ctx, pre(kit.Mark())); err == nil { // the connection is there
		go func() {
			_, err := client.Dispatch(ctx, pre(conformance.Step{Do: "sleep", MS: 1000}))
			done <- err
		}()
		_, err = client.Dispatch(ctx, pre(conformance.Step{Do: "sleep", MS: 200})) // so that the other has arrived
		err = errors.Join(err, p.Terminate(), <-done)
	}
	if err == nil {
		err = p.Await(ctx)
	}
	return errors.Join(err, p.Stop(ctx))
}
