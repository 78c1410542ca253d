package plugins

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/proc"
	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
)

// Calls is what a bare client measured.
type Calls struct {
	Count     int64         `json:"calls"`
	Elapsed   time.Duration `json:"elapsed_ns"`
	ClientCPU time.Duration `json:"client_cpu_ns"`
	ServerCPU time.Duration `json:"server_cpu_ns"`
}

// Call lets callers call SetHeader of the server at an address, each one call after the other, through grpc-go's
// generated client on one connection: what an out-of-process hook costs anyone who does nothing about it. Both
// processes' clocks are read after a warm-up.
func Call(ctx context.Context, address string, clientPID, serverPID, callers int, duration time.Duration) (Calls, error) {
	target := address
	if !strings.HasPrefix(address, "unix:") {
		target = "passthrough:///" + strings.TrimPrefix(address, "tcp://")
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return Calls{}, err
	}
	defer conn.Close()
	client := coprocess.NewDispatcherClient(conn)

	const warmUp = 300 * time.Millisecond
	if _, err := callUntil(ctx, client, callers, warmUp); err != nil {
		return Calls{}, err
	}
	cpu := func() (client, server time.Duration, err error) {
		client, err = proc.CPU(clientPID)
		server, serverErr := proc.CPU(serverPID)
		return client, server, errors.Join(err, serverErr)
	}
	client0, server0, err := cpu()
	if err != nil {
		return Calls{}, err
	}
	begin := time.Now()
	count, err := callUntil(ctx, client, callers, duration)
	elapsed := time.Since(begin)
	client1, server1, cpuErr := cpu()
	return Calls{count, elapsed, client1 - client0, server1 - server0}, errors.Join(err, cpuErr)
}

func callUntil(ctx context.Context, client coprocess.DispatcherClient, callers int, duration time.Duration) (int64, error) {
	var count atomic.Int64
	var running sync.WaitGroup
	failures := make([]error, callers)
	end := time.Now().Add(duration)
	for i := range callers {
		running.Go(func() {
			object := sampleObject()
			for again := true; again; again = time.Now().Before(end) {
				reply, err := client.Dispatch(ctx, object)
				if err == nil && reply.GetRequest().GetSetHeaders()[BenchHeader] != "1" {
					err = fmt.Errorf("the reply of %s sets no %s", SetHeader, BenchHeader)
				}
				if err != nil {
					failures[i] = err
					return
				}
				count.Add(1)
			}
		})
	}
	running.Wait()
	if i := slices.IndexFunc(failures, func(err error) bool { return err != nil }); i >= 0 {
		return count.Load(), failures[i] // one tells as much as all
	}
	return count.Load(), nil
}

// sampleObject is what a gateway sends for the request of the benchmark.
func sampleObject() *coprocess.Object {
	return &coprocess.Object{
		HookType: coprocess.HookType_Pre,
		HookName: SetHeader,
		Request: &coprocess.MiniRequestObject{
			Headers:        map[string]string{"Host": "127.0.0.1:8080", "Authorization": Token},
			Url:            "/",
			RequestUri:     "/",
			Method:         "GET",
			Scheme:         "http",
			Params:         map[string]string{},
			ExtendedParams: map[string]string{},
		},
		Session:  &coprocess.SessionState{},
		Metadata: map[string]string{},
		Spec:     map[string]string{"OrgID": "bench", "APIID": "bench", "bundle_hash": "d41d8cd98f00b204e9800998ecf8427e"},
	}
}
