package main

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
)

// dial serves the plugin on a free port and returns a client.
func dial(t *testing.T) coprocess.DispatcherClient {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	coprocess.RegisterDispatcherServer(s, &Dispatcher{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return coprocess.NewDispatcherClient(conn)
}

func TestHooks(t *testing.T) {
	client := dial(t)
	tests := []struct {
		name  string
		send  *coprocess.Object
		check func(o *coprocess.Object) bool
	}{
		{"AddGreeting", &coprocess.Object{Request: &coprocess.MiniRequestObject{Url: "/tyk/x"}}, func(o *coprocess.Object) bool {
			return o.Request.SetHeaders["X-Greeting"] == "hello" && o.Request.ReturnOverrides == nil
		}},
		{"AddGreeting", &coprocess.Object{Request: &coprocess.MiniRequestObject{Url: "/tyk/teapot"}}, func(o *coprocess.Object) bool {
			return o.Request.ReturnOverrides.GetResponseCode() == 418
		}},
		{"CheckKey", &coprocess.Object{Request: &coprocess.MiniRequestObject{}}, func(o *coprocess.Object) bool {
			return o.Request.ReturnOverrides.GetResponseCode() == 403 && o.Session == nil
		}},
		{"CheckKey", &coprocess.Object{Request: &coprocess.MiniRequestObject{Headers: map[string]string{"Authorization": "open sesame"}}}, func(o *coprocess.Object) bool {
			return o.Session.GetAlias() == "ali" && o.Metadata["token"] == "open sesame"
		}},
		{"TellSession", &coprocess.Object{
			Request: &coprocess.MiniRequestObject{},
			Session: &coprocess.SessionState{Alias: "ali", Metadata: map[string]string{"cave": "40"}},
		}, func(o *coprocess.Object) bool { return o.Request.SetHeaders["X-Cave"] == "40" }},
		{"RenameParameter", &coprocess.Object{Request: &coprocess.MiniRequestObject{Params: map[string]string{"q": "1"}}}, func(o *coprocess.Object) bool {
			return o.Request.AddParams["query"] == "1" && len(o.Request.DeleteParams) == 1
		}},
		{"MarkReply", &coprocess.Object{Response: &coprocess.ResponseObject{
			Headers: map[string]string{"Content-Type": "text/plain"}, RawBody: []byte("hi\n"),
		}}, func(o *coprocess.Object) bool {
			return string(o.Response.RawBody) == "hi\nmarked\n" && o.Response.MultivalueHeaders[0].Key == "X-Marked"
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			tt.send.HookName = tt.name
			got, err := client.Dispatch(ctx, tt.send)
			if err != nil {
				t.Fatal(err)
			}
			if !tt.check(got) {
				t.Errorf("got %v", got)
			}
		})
	}
	if _, err := client.Dispatch(t.Context(), &coprocess.Object{HookName: "None"}); status.Code(err) != codes.Unknown || !strings.Contains(err.Error(), "no hook") {
		t.Errorf("an unknown hook got %v", err)
	}
	if _, err := client.DispatchEvent(t.Context(), &coprocess.Event{Payload: "{}"}); err != nil {
		t.Error(err)
	}
}
