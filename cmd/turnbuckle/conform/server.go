package conform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
)

func serverChecks() []check {
	return []check{
		{id: "server/health", protocol: both, section: "1.1", title: "the health service says that the server serves", run: health},
		{id: "server/watch", protocol: both, section: "1.1", title: "who watches the health is told at once", run: watchHealth},
		{id: "server/ping", protocol: both, section: "1.1", title: "HTTP/2 pings every 5 s without a stream are tolerated", slow: true, run: ping},
		{
			id: "server/observer", protocol: native, section: "1.8", title: "observers are given records and events",
			hooks: []string{conformance.Hook, conformance.Watch}, run: observer,
		},
		{id: "server/stop", protocol: native, section: "1.7", title: "a server that is told to end answers what runs, tells its streams, and ends", hooks: []string{conformance.Hook}, run: stopNative},
		{id: "server/stop-idle", protocol: native, section: "1.7", title: "a server without calls that is told to end tells its streams, and ends", run: stopIdle},
		{id: "server/stop-tyk", protocol: tyk, section: "1.7", title: "a server that is told to end answers what runs, and ends", hooks: []string{conformance.Hook}, run: stopTyk},
	}
}

func health(ctx context.Context, t *trial) error {
	ctx, cancel := context.WithTimeout(ctx, t.s.o.Patience)
	defer cancel()
	services := []string{""}
	if t.s.about != nil {
		services = append(services, pluginv1.Plugin_ServiceDesc.ServiceName)
	}
	for _, service := range services {
		reply, err := healthpb.NewHealthClient(t.s.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
		switch {
		case status.Code(err) == codes.Unimplemented:
			return t.withoutHealth()
		case status.Code(err) == codes.NotFound:
			t.warn("the health of %q is not known", service)
		case err != nil:
			return err
		case reply.Status != healthpb.HealthCheckResponse_SERVING:
			t.fail("%q is %v", service, reply.Status)
		}
	}
	return nil
}

// withoutHealth: a server of the native protocol should have the service, servers of Tyk's have none.
func (t *trial) withoutHealth() error {
	if t.s.about == nil {
		return t.skip("the server has no health service")
	}
	t.warn("the server has no health service")
	return nil
}

func watchHealth(ctx context.Context, t *trial) error {
	ctx, cancel := context.WithTimeout(ctx, t.s.o.Patience)
	defer cancel()
	watch, err := healthpb.NewHealthClient(t.s.conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return err
	}
	reply, err := watch.Recv()
	switch {
	case status.Code(err) == codes.Unimplemented:
		return t.withoutHealth()
	case err != nil:
		return err
	case reply.Status != healthpb.HealthCheckResponse_SERVING:
		t.fail("it is %v", reply.Status)
	}
	return nil
}

// pings are how many, and how far apart: a library that minds ends the connection at the third that comes too soon.
const (
	pings     = 4
	pingEvery = 5 * time.Second
)

func ping(ctx context.Context, t *trial) error {
	conn, err := t.s.at.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // ends what waits
	defer stop()
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		return err
	}
	f := http2.NewFramer(conn, conn)
	if err := f.WriteSettings(); err != nil {
		return err
	}
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for i := range pings {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := f.WritePing(false, [8]byte{byte(i + 1)}); err != nil {
			return fmt.Errorf("after %d pings: %w", i, err)
		}
		if err := answered(f, conn, t.s.o.Patience); err != nil {
			return fmt.Errorf("ping %d: %w", i+1, err)
		}
	}
	return nil
}

// answered waits for the answer to a ping.
func answered(f *http2.Framer, conn net.Conn, patience time.Duration) error {
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return err
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				if err := f.WriteSettingsAck(); err != nil {
					return err
				}
			}
		case *http2.PingFrame:
			if frame.IsAck() {
				return nil
			}
			if err := f.WritePing(true, frame.Data); err != nil {
				return err
			}
		case *http2.GoAwayFrame:
			return fmt.Errorf("the server sent GOAWAY with %v %q", frame.ErrCode, frame.DebugData())
		}
	}
}

func observer(ctx context.Context, t *trial) error {
	server, err := t.runtime(ctx)
	if err != nil {
		return err
	}
	defer server.Close()
	id := fmt.Sprintf("observed-%d", time.Now().UnixNano())
	batch := sdk.Batch{
		Records: []sdk.Record{{RequestID: id, Status: 200, Hooks: []sdk.HookRecord{{Name: "h"}}}},
		Events:  []sdk.Event{{Type: id, Route: "orders", Meta: map[string]string{"a": "b"}}},
	}
	if err := server.Observer(conformance.Watch).Observe(ctx, batch); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.s.o.Patience)
	defer cancel()
	c := &scene{phase: sdk.Pre, hooks: conforms(look)}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var report struct {
		Observed struct{ Records, Events []string }
	}
	for { // the batch is observed some time after it came, perhaps in another process of the server
		r, err := c.through(ctx, server)
		if err == nil {
			err = errors.Join(r.err, json.Unmarshal(r.after.Response.Body, &report))
		}
		if err != nil {
			return err
		}
		if slices.Contains(report.Observed.Records, id) && slices.Contains(report.Observed.Events, id) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the observer saw records %q and events %q, and not %s", report.Observed.Records, report.Observed.Events, id)
		}
	}
}

// another starts the command once more, for a case that ends it.
func (t *trial) another(ctx context.Context) (*trial, *program, error) {
	if t.s.program == nil {
		return nil, nil, t.skip("the server was not started by the kit")
	}
	p, err := start(ctx, t.s.o.Command, t.s.o.Patience)
	if err != nil {
		return nil, nil, err
	}
	at, err := placeOf(p.address, t.s.o.TLS)
	if err != nil {
		return nil, nil, errors.Join(err, p.stop(ctx))
	}
	own := *t.s
	own.at, own.program = at, nil
	return &trial{s: &own, protocol: t.protocol}, p, nil
}

// adopt takes what a trial of another server found.
func (t *trial) adopt(other *trial) {
	t.failures = append(t.failures, other.failures...)
	t.warnings = append(t.warnings, other.warnings...)
	t.notes = append(t.notes, other.notes...)
}

func stopNative(ctx context.Context, t *trial) error {
	return t.stopped(ctx, frame(some(doing(1, step{Do: "sleep", MS: 700}, mark)), calls(1, 3, 1)...))
}

func stopIdle(ctx context.Context, t *trial) error {
	return t.stopped(ctx, &pluginv1.HostFrame{Bindings: some(binding(1, absent))})
}

// stopped tells a server of its own to end while the calls of a frame run.
func (t *trial) stopped(ctx context.Context, f *pluginv1.HostFrame) error {
	own, p, err := t.another(ctx)
	if err != nil {
		return err
	}
	s, err := own.session(ctx)
	if err != nil {
		return errors.Join(err, p.stop(ctx))
	}
	err = s.stopDuring(ctx, p, f)
	s.close()
	for id := range f.Calls {
		s.want(uint64(id+1), 0)
	}
	t.adopt(own)
	return errors.Join(err, p.stop(ctx))
}

func (s *stream) stopDuring(ctx context.Context, p *program, f *pluginv1.HostFrame) error {
	if err := s.send(f); err != nil {
		return err
	}
	if err := s.await(ctx, "acknowledgement", func() bool { return s.acked == s.seq }); err != nil {
		return err
	}
	if err := p.terminate(); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return fmt.Errorf("after SIGTERM: %w", err)
	}
	if err := s.await(ctx, "drain frame after SIGTERM", func() bool { return s.drained }); err != nil {
		s.t.warn("%v", err)
	}
	if err := s.raw.CloseSend(); err != nil {
		return err
	}
	if code, err := s.over(ctx); err != nil || code != codes.OK {
		s.t.warn("after drain and half-close the stream ended with %v (%v), want OK", code, err)
	}
	return p.await(ctx)
}

func stopTyk(ctx context.Context, t *trial) error {
	own, p, err := t.another(ctx)
	if err != nil {
		return err
	}
	conn, err := own.connect()
	if err != nil {
		return errors.Join(err, p.stop(ctx))
	}
	defer conn.Close()
	client := tykpb.NewDispatcherClient(conn)
	done := make(chan error, 1)
	if _, err = client.Dispatch(ctx, pre(mark)); err == nil { // the connection is there
		go func() {
			_, err := client.Dispatch(ctx, pre(step{Do: "sleep", MS: 1000}))
			done <- err
		}()
		_, err = client.Dispatch(ctx, pre(step{Do: "sleep", MS: 200})) // so that the other has arrived
		err = errors.Join(err, p.terminate(), <-done)
	}
	if err == nil {
		err = p.await(ctx)
	}
	return errors.Join(err, p.stop(ctx))
}
