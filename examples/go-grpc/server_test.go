package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

// The hooks do the same behind the native protocol as on the exchange: they read nothing that they do not ask for.
func TestNeeds(t *testing.T) {
	gold := &sdk.Session{KeyID: "t-ada", Alias: "ada", Metadata: map[string]string{"plan": "gold"}}
	sdktest.CheckWire(t, testPlugin(),
		sdktest.Request("GET", "/healthz").Config(testConfig),
		sdktest.Request("POST", "/shop/v1/orders?debug=1&page=2").Config(testConfig).Header("Authorization", "Bearer t-ada").
			Body(`{"item":1}`).Session(gold).Value("plan", `"gold"`).
			Reply(201, `{"total":1}`, sdk.Field{Name: "Content-Type", Value: "application/json"}),
		sdktest.Request("GET", "/v1/orders?debug=1").Config(testConfig).Header("Authorization", "Basic x"),
	)
}

// A server that speaks Tyk's protocol: the gateway here is a generated client on a real socket.
func TestServesTyk(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(t.Context())
	status := make(chan int, 1)
	go func() {
		status <- serve.Run(ctx, testPlugin(), []string{"-listen", "unix:" + socket}, func(string) string { return "" }, os.Stderr)
	}()
	defer func() {
		cancel()
		if got := <-status; got != 0 {
			t.Errorf("the server ended with status %d", got)
		}
	}()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := coprocess.NewDispatcherClient(conn)
	call, done := context.WithTimeout(t.Context(), 30*time.Second)
	defer done()

	spec := map[string]string{"APIID": "shop", "config_data": testConfig}
	auth := func(token string) *coprocess.Object {
		o, err := client.Dispatch(call, &coprocess.Object{
			HookType: coprocess.HookType_CustomKeyCheck, HookName: "CheckToken", Spec: spec,
			Request: &coprocess.MiniRequestObject{Method: "GET", Url: "/shop/v1/orders", Headers: map[string]string{"Authorization": "Bearer " + token}},
		}, grpc.WaitForReady(true)) // the server may not listen yet
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	if got := auth("nobody").Request.ReturnOverrides; got.GetResponseCode() != 403 || got.GetResponseError() != "unknown token" {
		t.Errorf("an unknown token got %v", got)
	}
	ada := auth("t-ada")
	if ada.Metadata["token"] != "t-ada" || ada.Session.GetAlias() != "ada" {
		t.Errorf("a known token got %v", ada)
	}
	o, err := client.Dispatch(call, &coprocess.Object{
		HookType: coprocess.HookType_PostKeyAuth, HookName: "TagPlan", Spec: spec, Session: ada.Session, Metadata: ada.Metadata,
		Request: &coprocess.MiniRequestObject{Method: "GET", Url: "/shop/v1/orders", Headers: map[string]string{"Authorization": "Bearer t-ada"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if o.Request.SetHeaders["X-Shop-Plan"] != "gold" || len(o.Request.DeleteHeaders) != 1 {
		t.Errorf("TagPlan gave %v", o.Request)
	}
}
