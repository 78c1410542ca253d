package frames

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/kit"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/report"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
)

func serverChecks() []kit.Case {
	return []kit.Case{
		{ID: "server/health", Protocol: report.Both, Section: "1.1", Title: "the health service says that the server serves", Run: health},
		{ID: "server/watch", Protocol: report.Both, Section: "1.1", Title: "who watches the health is told at once", Run: watchHealth},
		{ID: "server/ping", Protocol: report.Both, Section: "1.1", Title: "HTTP/2 pings every 5 s without a stream are tolerated", Slow: true, Run: ping},
		{ID: "server/stop", Protocol: report.Native, Section: "1.7", Title: "a server that is told to end answers what runs, tells its streams, and ends", Hooks: []string{conformance.Hook}, Run: stopNative},
		{ID: "server/stop-idle", Protocol: report.Native, Section: "1.7", Title: "a server without calls that is told to end tells its streams, and ends", Run: stopIdle},
	}
}

func health(ctx context.Context, t *kit.Trial) error {
	ctx, cancel := context.WithTimeout(ctx, t.Subject.Options.Patience)
	defer cancel()
	services := []string{""}
	if t.Subject.About != nil {
		services = append(services, pluginv1.Plugin_ServiceDesc.ServiceName)
	}
	for _, service := range services {
		reply, err := healthpb.NewHealthClient(t.Subject.Conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
		switch {
		case status.Code(err) == codes.Unimplemented:
			return withoutHealth(t)
		case status.Code(err) == codes.NotFound:
			t.Warn("the health of %q is not known", service)
		case err != nil:
			return err
		case reply.Status != healthpb.HealthCheckResponse_SERVING:
			t.Fail("%q is %v", service, reply.Status)
		}
	}
	return nil
}

// withoutHealth: a server of the native protocol should have the service, servers of Tyk's have none.
func withoutHealth(t *kit.Trial) error {
	if t.Subject.About == nil {
		return t.Skip("the server has no health service")
	}
	t.Warn("the server has no health service")
	return nil
}

func watchHealth(ctx context.Context, t *kit.Trial) error {
	ctx, cancel := context.WithTimeout(ctx, t.Subject.Options.Patience)
	defer cancel()
	watch, err := healthpb.NewHealthClient(t.Subject.Conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return err
	}
	reply, err := watch.Recv()
	switch {
	case status.Code(err) == codes.Unimplemented:
		return withoutHealth(t)
	case err != nil:
		return err
	case reply.Status != healthpb.HealthCheckResponse_SERVING:
		t.Fail("it is %v", reply.Status)
	}
	return nil
}

// pings are how many, and how far apart: a library that minds ends the connection at the third that comes too soon.
const (
	pings     = 4
	pingEvery = 5 * time.Second
)

func ping(ctx context.Context, t *kit.Trial) error {
	conn, err := t.Subject.At.Connect(ctx)
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
		if err := answered(f, conn, t.Subject.Options.Patience); err != nil {
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

func stopNative(ctx context.Context, t *kit.Trial) error {
	return stopped(ctx, t, frame(some(doing(1, step{Do: "sleep", MS: 700}, kit.Mark())), calls(1, 3, 1)...))
}

func stopIdle(ctx context.Context, t *kit.Trial) error {
	return stopped(ctx, t, &pluginv1.HostFrame{Bindings: some(binding(1, kit.Absent))})
}

// stopped tells a server of its own to end while the calls of a frame run.
func stopped(ctx context.Context, t *kit.Trial, f *pluginv1.HostFrame) error {
	own, p, err := t.Another(ctx)
	if err != nil {
		return err
	}
	s, err := session(ctx, own)
	if err != nil {
		return errors.Join(err, p.Stop(ctx))
	}
	err = s.stopDuring(ctx, p, f)
	s.close()
	for id := range f.Calls {
		s.want(uint64(id+1), 0)
	}
	t.Adopt(own)
	return errors.Join(err, p.Stop(ctx))
}

func (s *stream) stopDuring(ctx context.Context, p *kit.Program, f *pluginv1.HostFrame) error {
	if err := s.send(f); err != nil {
		return err
	}
	if err := s.await(ctx, "acknowledgement", func() bool { return s.acked == s.seq }); err != nil {
		return err
	}
	if err := p.Terminate(); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return fmt.Errorf("after SIGTERM: %w", err)
	}
	if err := s.await(ctx, "drain frame after SIGTERM", func() bool { return s.drained }); err != nil {
		s.t.Warn("%v", err)
	}
	if err := s.raw.CloseSend(); err != nil {
		return err
	}
	if code, err := s.over(ctx); err != nil || code != codes.OK {
		s.t.Warn("after drain and half-close the stream ended with %v (%v), want OK", code, err)
	}
	return p.Await(ctx)
}
