package conform

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
)

// eventPayload is an event as Tyk's gateway sends it.
const eventPayload = `{"message": {"Type": "AuthFailure", "Meta": {"Message": "Attempted access", "Path": "/", "Origin": "192.0.2.7", "Key": "k"},
	"TimeStamp": "2026-01-02 03:04:05.6 +0000 UTC"}, "handler_name": "` + conformance.Watch + `", "spec": {"APIID": "conform", "OrgID": "default"}}`

func tykChecks() []check {
	kit := []string{conformance.Hook}
	return []check{
		{id: "tyk/event", protocol: tyk, section: "2.6", title: "DispatchEvent takes events", run: onDispatcher(tykEvent)},
		{id: "tyk/unknown-hook", protocol: tyk, section: "2", title: "a hook that is not there is an error, or changes nothing", run: onDispatcher(tykUnknown)},
		{id: "tyk/grease", protocol: tyk, section: "2.1", title: "fields that the server does not know do no harm", run: onDispatcher(tykGrease)},
		{id: "tyk/garbage", protocol: tyk, section: "2.2", title: "what is no Object is an error, and the server serves on", run: tykGarbage},
		{id: "tyk/large", protocol: tyk, section: "1.1", title: "an Object of 4 MiB is taken", run: onDispatcher(tykLarge)},
		{id: "tyk/set-headers", protocol: tyk, section: "2.2", title: "changes are in set_headers and delete_headers", hooks: kit, run: onDispatcher(tykHeaders)},
		{id: "tyk/echo", protocol: tyk, section: "2.4", title: "what the hook did not change comes back", hooks: kit, run: onDispatcher(tykEcho)},
		{id: "tyk/deadline", protocol: tyk, section: "2", title: "a call ends at its deadline, and the server serves on", hooks: kit, run: onDispatcher(tykDeadline)},
		{id: "tyk/slow", protocol: tyk, section: "2", title: "a slow call does not hold others", hooks: kit, run: onDispatcher(tykSlow)},
		{id: "tyk/many", protocol: tyk, section: "2", title: "each of many calls at once gets its own reply", hooks: kit, run: onDispatcher(tykMany)},
	}
}

func onDispatcher(run func(ctx context.Context, t *trial, c tykpb.DispatcherClient) error) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		conn, err := t.connect()
		if err != nil {
			return err
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(ctx, 2*t.s.o.Patience)
		defer cancel()
		return run(ctx, t, tykpb.NewDispatcherClient(conn))
	}
}

// tykObject is a call as a host makes it.
func tykObject(hook string, phase tykpb.HookType, list ...step) *tykpb.Object {
	return &tykpb.Object{
		HookType: phase, HookName: hook,
		Request: &tykpb.MiniRequestObject{
			Headers: map[string]string{"Host": "conform.test", "X-One": "1"}, Url: "/conform/x?q=1", RequestUri: "/conform/x?q=1", Scheme: "http",
			Params: map[string]string{"q": "1"}, Method: "POST", Body: "text", RawBody: []byte("text"),
			ReturnOverrides: &tykpb.ReturnOverrides{ResponseCode: -1}, Echo: true,
		},
		Spec: map[string]string{"OrgID": "default", "APIID": "conform", "bundle_hash": "d41d8cd98f00b204e9800998ecf8427e", "config_data": string(steps(list...))},
	}
}

func pre(list ...step) *tykpb.Object {
	return tykObject(conformance.Hook, tykpb.HookType_Pre, list...)
}

func tykEvent(ctx context.Context, t *trial, c tykpb.DispatcherClient) error {
	for _, payload := range []string{eventPayload, `{"message": {"Type": "NobodyKnows", "Meta": null, "TimeStamp": ""}, "handler_name": "nobody", "spec": {}}`} {
		if !json.Valid([]byte(payload)) {
			return fmt.Errorf("not JSON: %s", payload)
		}
		if _, err := c.DispatchEvent(ctx, &tykpb.Event{Payload: payload}); err != nil {
			t.fail("event %.60s…: %v", payload, err)
		}
	}
	return nil
}

func tykUnknown(ctx context.Context, t *trial, c tykpb.DispatcherClient) error {
	reply, err := c.Dispatch(ctx, tykObject(absent, tykpb.HookType_Pre))
	if err != nil {
		t.note("%v", status.Code(err))
		return alive(ctx, c)
	}
	r := reply.GetRequest()
	if len(r.GetSetHeaders())+len(r.GetDeleteHeaders()) > 0 || r.GetReturnOverrides().GetResponseCode() > 0 {
		t.fail("it changed the request: %v", r)
	}
	return alive(ctx, c)
}

// alive checks that a server takes calls, whatever it answers.
func alive(ctx context.Context, c tykpb.DispatcherClient) error {
	_, err := c.Dispatch(ctx, tykObject(absent, tykpb.HookType_Pre))
	if code := status.Code(err); code == codes.Unavailable || code == codes.DeadlineExceeded {
		return fmt.Errorf("afterwards: %w", err)
	}
	return nil
}

func tykGrease(ctx context.Context, t *trial, c tykpb.DispatcherClient) error {
	o := greased(tykObject(absent, 99))
	greased(o.Request)
	o.Response = greased(&tykpb.ResponseObject{})
	o.Session = greased(&tykpb.SessionState{})
	_, err := c.Dispatch(ctx, o)
	switch code := status.Code(err); code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.InvalidArgument:
		t.fail("%v", err)
	}
	return alive(ctx, c)
}

func tykGarbage(ctx context.Context, t *trial) error {
	conn, err := t.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, t.s.o.Patience)
	defer cancel()
	for _, bad := range [][]byte{{0x1a, 0xff, 0x01}, {0x08}, {0x00}} {
		var in rawcodec.In
		err := conn.Invoke(ctx, tykpb.Dispatcher_Dispatch_FullMethodName, &rawcodec.Out{Buffers: mem.BufferSlice{mem.SliceBuffer(bad)}}, &in)
		if err == nil {
			t.fail("% x was taken", bad)
		}
	}
	return alive(ctx, tykpb.NewDispatcherClient(conn))
}

func tykLarge(ctx context.Context, t *trial, c tykpb.DispatcherClient) error {
	o := tykObject(absent, tykpb.HookType_Pre)
	o.Request.Body, o.Request.RawBody = "", bytes.Repeat([]byte{0xff}, messageBytes-1024)
	if _, err := c.Dispatch(ctx, o); status.Code(err) == codes.ResourceExhausted {
		t.fail("%v", err)
	}
	return alive(ctx, c)
}

func tykHeaders(ctx context.Context, t *trial, c tykpb.DispatcherClient) error {
	reply, err := c.Dispatch(ctx, pre(mark, step{Do: "del_header", Name: "X-One"}))
	if err != nil {
		return err
	}
	r := reply.GetRequest()
	if r.GetSetHeaders()["X-Mark"] != "done" || len(r.GetSetHeaders()) != 1 || len(r.GetDeleteHeaders()) != 1 || r.GetDeleteHeaders()[0] != "X-One" {
		t.fail("set_headers %v and delete_headers %v, want X-Mark and X-One", r.GetSetHeaders(), r.GetDeleteHeaders())
	}
	return nil
}

func tykEcho(ctx context.Context, t *trial, c tykpb.DispatcherClient) error {
	reply, err := c.Dispatch(ctx, pre(mark))
	if err != nil {
		return err
	}
	r := reply.GetRequest()
	if r == nil {
		t.fail("the reply has no request: the gateway takes no change from it")
		return nil
	}
	if r.Url != "/conform/x?q=1" || r.Method != "POST" || string(r.RawBody) != "text" || r.GetReturnOverrides().GetResponseCode() > 0 {
		t.fail("the hook set one header, and this came back: %v", r)
	}
	if !r.Echo {
		t.note("field 100, echo, does not come back: the gateway goes by 2.4 for servers that drop what they do not know")
	}
	return nil
}

func tykDeadline(ctx context.Context, t *trial, c tykpb.DispatcherClient) error {
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := c.Dispatch(short, pre(step{Do: "sleep", MS: 1500})); status.Code(err) != codes.DeadlineExceeded {
		t.fail("got %v, want a deadline exceeded", err)
	}
	_, err := c.Dispatch(ctx, pre(mark))
	return err
}

func tykSlow(ctx context.Context, t *trial, c tykpb.DispatcherClient) error {
	slow := make(chan error, 1)
	go func() {
		_, err := c.Dispatch(ctx, pre(step{Do: "sleep", MS: 1500}))
		slow <- err
	}()
	for range 20 {
		if _, err := c.Dispatch(ctx, pre(mark)); err != nil {
			<-slow
			return err
		}
	}
	select {
	case err := <-slow:
		t.fail("the slow call ended (%v) before 20 quick ones: it sleeps for 1.5 s", err)
		return nil
	default:
		return <-slow
	}
}

func tykMany(ctx context.Context, t *trial, c tykpb.DispatcherClient) error {
	var all sync.WaitGroup
	errs := make([]error, 100)
	for i := range errs {
		all.Go(func() {
			want := fmt.Sprint(i)
			reply, err := c.Dispatch(ctx, pre(set("X-Mark", want)))
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
