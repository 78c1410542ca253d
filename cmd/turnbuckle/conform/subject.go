package conform

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/address"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
)

// subject is the server that is looked at.
type subject struct {
	o        Options
	name     string // address or command
	at       place
	about    *pluginv1.DescribeReply // nil: it does not speak the native protocol
	tyk      bool
	tykHooks bool // it has the hooks there
	program  *program
	// conn is open to the end: servers of Node's gRPC die when a connection ends right after a call that they do not know.
	conn *grpc.ClientConn
}

// place is where a server listens.
type place struct {
	text   string // as the runtime reads it
	target address.Target
	tls    *tls.Config
}

func placeOf(text string, tls *tls.Config) (place, error) {
	t, err := address.Parse(text)
	return place{text, t, tls}, err
}

// connect makes a connection without gRPC around it.
func (p place) connect(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, p.target.Network, p.target.Address)
	if err != nil || p.tls == nil {
		return conn, err
	}
	c := p.tls.Clone()
	c.NextProtos = []string{"h2"}
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(p.target.Address)
	}
	secure := tls.Client(conn, c)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secure, nil
}

// messageBytes is the largest message that a host takes: gRPC's default.
const messageBytes = 4 << 20

// client makes a connection of gRPC's. Messages may be larger than the server's may be, so that they are seen.
func (p place) client() (*grpc.ClientConn, error) {
	secure, authority := insecure.NewCredentials(), "localhost"
	if p.target.Network == "tcp" {
		authority = p.target.Address
	}
	if p.tls != nil {
		secure = credentials.NewTLS(p.tls)
	}
	return grpc.NewClient("passthrough:///"+p.target.Address,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, p.target.Network, p.target.Address)
		}),
		grpc.WithTransportCredentials(secure), grpc.WithAuthority(authority), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawcodec.New()), grpc.MaxCallRecvMsgSize(4*messageBytes), grpc.MaxCallSendMsgSize(4*messageBytes)))
}

// open finds the server, or starts it, and asks what it speaks.
func open(ctx context.Context, o Options) (*subject, error) {
	if o.Patience <= 0 {
		o.Patience = 10 * time.Second
	}
	s := &subject{o: o, name: o.Address}
	text := o.Address
	if text == "" {
		s.name = strings.Join(o.Command, " ")
		p, err := start(ctx, o.Command, o.Patience)
		if err != nil {
			return nil, err
		}
		s.program, text = p, p.address
	}
	err := s.ask(ctx, text)
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

func (s *subject) ask(ctx context.Context, text string) (err error) {
	if s.at, err = placeOf(text, s.o.TLS); err != nil {
		return err
	}
	if s.conn, err = s.at.client(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Patience)
	defer cancel()
	about, err := pluginv1.NewPluginClient(s.conn).Describe(ctx, &pluginv1.DescribeRequest{Host: "conform"})
	switch status.Code(err) {
	case codes.OK:
		s.about = about
	case codes.Unimplemented:
	default:
		return fmt.Errorf("ask %s to describe itself: %w", s.name, err)
	}
	client := tykpb.NewDispatcherClient(s.conn)
	_, err = client.DispatchEvent(ctx, &tykpb.Event{Payload: eventPayload})
	s.tyk = status.Code(err) != codes.Unimplemented
	if s.tyk {
		s.tykHooks = s.has(conformance.Hook) || knowsHooks(ctx, client)
	}
	if s.about == nil && !s.tyk {
		return fmt.Errorf("%s speaks neither protocol: it knows neither Describe nor DispatchEvent", s.name)
	}
	return nil
}

// knowsHooks finds out whether a server of Tyk's protocol has the hooks, which it does not say.
func knowsHooks(ctx context.Context, client tykpb.DispatcherClient) bool {
	object := tykObject(conformance.Hook, tykpb.HookType_Pre, conformance.Step{Do: "set_header", Name: "X-Conform", Value: "yes"})
	reply, err := client.Dispatch(ctx, object)
	return err == nil && reply.GetRequest().GetSetHeaders()["X-Conform"] == "yes"
}

func (s *subject) protocols() []string {
	list := []string{}
	if s.about != nil {
		list = append(list, native)
	}
	if s.tyk {
		list = append(list, tyk)
	}
	return list
}

// has reports whether the server says that it has the hook, or the observer.
func (s *subject) has(name string) bool {
	if s.about == nil {
		return s.tykHooks && name == conformance.Hook
	}
	for _, h := range s.about.Hooks {
		if h.Name == name {
			return true
		}
	}
	for _, o := range s.about.Observers {
		if o == name {
			return true
		}
	}
	return false
}

// ended reports whether a server that was started has ended, and what it said last.
func (s *subject) ended() (string, bool) {
	if s.program == nil {
		return "", false
	}
	return s.program.hasEnded()
}

func (s *subject) close(ctx context.Context) error {
	var err error
	if s.conn != nil {
		err = s.conn.Close()
	}
	if s.program == nil {
		return err
	}
	return errors.Join(err, s.program.stop(ctx))
}

// runtime opens the server as the gateway does, and waits until it takes calls.
func (t *trial) runtime(ctx context.Context) (*rpc.Server, error) {
	p := rpc.Native
	if t.protocol == tyk {
		p = rpc.Tyk
	}
	server, err := rpc.Open(ctx, rpc.Options{Address: t.s.at.text, Protocol: p, TLS: t.s.at.tls})
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		list := server.Status()
		if len(list) > 0 && list[0].State == rpc.StateReady {
			return server, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("the gateway's runtime finds the server not ready: %+v", list), server.Close())
		}
	}
}
