// Package kit is what the cases of `turnbuckle plugin conform` stand on: the server that is looked at, and a case under way.
package kit

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

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/report"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/handshake"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/address"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
)

// Options say what to look at, and how patiently.
type Options struct {
	Address   string           // of a server that runs; empty: Command is started
	Command   []string         // program and arguments
	Handshake handshake.Config // with which Command is started
	TLS       *tls.Config      // towards Address; nil: none
	Patience  time.Duration    // for what must come; 0: 10 s
}

// Subject is the server that is looked at. Its fields are not changed.
type Subject struct {
	Options Options
	Name    string // address or command
	At      Place
	About   *pluginv1.DescribeReply // nil: it does not speak the native protocol
	// Conn is open to the end: servers of Node's gRPC die when a connection ends right after a call that they do not know.
	Conn *grpc.ClientConn

	tyk      bool
	tykHooks bool // it has the hooks there
	program  *Program
}

// Place is where a server listens.
type Place struct {
	Text   string // as the runtime reads it
	Target address.Target
	TLS    *tls.Config // nil: none
}

// PlaceOf reads an address.
func PlaceOf(text string, tls *tls.Config) (Place, error) {
	t, err := address.Parse(text)
	return Place{text, t, tls}, err
}

// Connect makes a connection without gRPC around it.
func (p Place) Connect(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, p.Target.Network, p.Target.Address)
	if err != nil || p.TLS == nil {
		return conn, err
	}
	c := p.TLS.Clone()
	c.NextProtos = []string{"h2"}
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(p.Target.Address)
	}
	secure := tls.Client(conn, c)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secure, nil
}

// MessageBytes is the largest message that a host takes: gRPC's default.
const MessageBytes = 4 << 20

// Client makes a connection of gRPC's. Messages may be larger than the server's may be, so that they are seen.
func (p Place) Client() (*grpc.ClientConn, error) {
	secure, authority := insecure.NewCredentials(), "localhost"
	if p.Target.Network == "tcp" {
		authority = p.Target.Address
	}
	if p.TLS != nil {
		secure = credentials.NewTLS(p.TLS)
	}
	return grpc.NewClient("passthrough:///"+p.Target.Address,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, p.Target.Network, p.Target.Address)
		}),
		grpc.WithTransportCredentials(secure), grpc.WithAuthority(authority), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawcodec.New()), grpc.MaxCallRecvMsgSize(4*MessageBytes), grpc.MaxCallSendMsgSize(4*MessageBytes)))
}

// Open finds the server, or starts it, and asks what it speaks.
func Open(ctx context.Context, o Options) (*Subject, error) {
	if o.Patience <= 0 {
		o.Patience = 10 * time.Second
	}
	s := &Subject{Options: o, Name: o.Address}
	var err error
	if o.Address == "" {
		s.Name = strings.Join(o.Command, " ")
		if s.program, err = start(ctx, &o); err != nil {
			return nil, err
		}
		s.At = s.program.at
	} else if s.At, err = PlaceOf(o.Address, o.TLS); err != nil {
		return nil, err
	}
	if err := s.ask(ctx); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

func (s *Subject) ask(ctx context.Context) (err error) {
	if s.Conn, err = s.At.Client(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.Options.Patience)
	defer cancel()
	about, err := pluginv1.NewPluginClient(s.Conn).Describe(ctx, &pluginv1.DescribeRequest{Host: "conform"})
	switch status.Code(err) {
	case codes.OK:
		s.About = about
	case codes.Unimplemented:
	default:
		return fmt.Errorf("ask %s to describe itself: %w", s.Name, err)
	}
	client := tykpb.NewDispatcherClient(s.Conn)
	_, err = client.DispatchEvent(ctx, &tykpb.Event{Payload: EventPayload})
	s.tyk = status.Code(err) != codes.Unimplemented
	if s.tyk {
		s.tykHooks = s.Has(conformance.Hook) || knowsHooks(ctx, client)
	}
	if s.About == nil && !s.tyk {
		return fmt.Errorf("%s speaks neither protocol: it knows neither Describe nor DispatchEvent", s.Name)
	}
	return nil
}

// Handshake reports whether the server was started with go-plugin's handshake.
func (s *Subject) Handshake() bool { return s.program != nil && s.program.handshake }

// knowsHooks finds out whether a server of Tyk's protocol has the hooks, which it does not say.
func knowsHooks(ctx context.Context, client tykpb.DispatcherClient) bool {
	object := Object(conformance.Hook, tykpb.HookType_Pre, conformance.Step{Do: "set_header", Name: "X-Conform", Value: "yes"})
	reply, err := client.Dispatch(ctx, object)
	return err == nil && reply.GetRequest().GetSetHeaders()["X-Conform"] == "yes"
}

// Protocols are those that the server speaks.
func (s *Subject) Protocols() []string {
	list := []string{}
	if s.About != nil {
		list = append(list, report.Native)
	}
	if s.tyk {
		list = append(list, report.Tyk)
	}
	return list
}

// Has reports whether the server says that it has the hook, or the observer.
func (s *Subject) Has(name string) bool {
	if s.About == nil {
		return s.tykHooks && name == conformance.Hook
	}
	for _, h := range s.About.Hooks {
		if h.Name == name {
			return true
		}
	}
	for _, o := range s.About.Observers {
		if o == name {
			return true
		}
	}
	return false
}

// ended reports whether a server that was started has ended, and what it said last.
func (s *Subject) ended() (string, bool) {
	if s.program == nil {
		return "", false
	}
	return s.program.hasEnded()
}

// Close ends the connection, and the server if it was started. That it had to be killed is an error.
func (s *Subject) Close(ctx context.Context) error {
	var err error
	if s.Conn != nil {
		err = s.Conn.Close()
	}
	if s.program == nil {
		return err
	}
	return errors.Join(err, s.program.Stop(ctx))
}

// Runtime opens the server as the gateway does, and waits until it takes calls.
func (t *Trial) Runtime(ctx context.Context) (*rpc.Server, error) {
	p := rpc.Native
	if t.Protocol == report.Tyk {
		p = rpc.Tyk
	}
	server, err := rpc.Open(ctx, rpc.Options{Address: t.Subject.At.Text, Protocol: p, TLS: t.Subject.At.TLS})
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
