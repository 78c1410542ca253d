// Package health watches what a plugin server's health service says of it (grpc.health.v1).
package health

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// patience is how long a new connection waits for the first word of the health service before it serves without.
const patience = 300 * time.Millisecond

// Watch tells whether the service says it is serving, whenever that changes, until ctx ends; a watch that breaks is begun anew
// after a pause, which is told how many have broken one after the other. A server without health service serves: Watch says so
// and returns false.
func Watch(ctx context.Context, conn *grpc.ClientConn, service string, pause func(ctx context.Context, failures int), tell func(serving bool)) (known bool) {
	heard := make(chan struct{})
	var waiting sync.WaitGroup
	defer waiting.Wait()
	waiting.Go(func() {
		t := time.NewTimer(patience)
		defer t.Stop()
		select {
		case <-heard:
		case <-ctx.Done():
		case <-t.C:
			tell(true)
		}
	})
	first := sync.OnceFunc(func() { close(heard) })
	defer first()
	for failures := 0; ctx.Err() == nil; failures++ {
		stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
		for err == nil {
			var r *healthpb.HealthCheckResponse
			if r, err = stream.Recv(); err == nil {
				first()
				failures = 0
				tell(r.GetStatus() == healthpb.HealthCheckResponse_SERVING)
			}
		}
		if status.Code(err) == codes.Unimplemented {
			first()
			tell(true)
			return false
		}
		pause(ctx, failures)
	}
	return true
}
