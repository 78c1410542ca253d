// Package rpc is the runtime for plugin servers that listen at an address and speak gRPC: Turnbuckle's native protocol
// or Tyk's. Which of the two is found out by asking: the host calls Describe on every new connection and takes Tyk's
// protocol when the server does not know the method, and never because it did not answer.
//
// A [Server] stands for everything behind one address. Each network address it resolves to is an instance with a
// connection of its own; calls go round the instances that are ready, to the one with the least to do. An instance that
// drains, whose health service says it is not serving, or whose connection is lost is taken out until it is back. A
// call that certainly did not reach an instance is given to another; one that may have run is not repeated.
package rpc

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"
)

// Protocol is what a plugin server speaks.
type Protocol string

// The protocols. Auto is for options only: ask the server.
const (
	Auto   Protocol = ""
	Tyk    Protocol = "tyk"
	Native Protocol = "native"
)

// Options say how to reach a plugin server. All but Address have defaults.
type Options struct {
	// Address is unix:PATH, unix:///PATH, tcp://host:port, host:port, or dns:///host:port for all addresses of a name.
	Address   string
	Protocol  Protocol
	TLS       *tls.Config // nil: none. A certificate in it makes it mutual
	Authority string      // of calls, and the name the server's certificate must have when TLS names none
	Health    string      // the service asked of the server's health service; "": the server as a whole

	MaxRecv        int           // bytes of one message or reply received; default 4 MiB
	MaxSend        int           // bytes of one message sent; default 4 MiB
	Streams        int           // sessions per instance; default 1
	Window         int           // unacknowledged frames per session; default 1
	GRPCUnary      bool          // calls of Tyk's protocol take grpc-go's client instead of our own
	Bindings       int           // hooks and routes a session is told of before it is replaced; default 60,000
	AckWait        time.Duration // for a frame's acknowledgement while calls time out, twice that for a cancelled call's reply; default 5 s
	ConnectTimeout time.Duration // of one attempt to connect, and of the questions on a new connection; default 5 s
	DrainTimeout   time.Duration // for the calls of an instance that leaves; default 30 s
	RetryEvery     time.Duration // longest wait between attempts to connect; default 3 s
	ResolveEvery   time.Duration // how often a dns name is looked up again; default 30 s
	Fill           time.Duration // calls go to the busiest instance that needs less for those it has; default 0: to the idlest

	// Resolve looks a name up. Default: the system's resolver.
	Resolve func(ctx context.Context, host string) ([]string, error)
	// Dial connects to an instance. Default: a [net.Dialer]'s DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Host is what the host calls itself towards plugins. Default "turnbuckle".
	Host string
	// Log takes what happens to connections. Default: dropped.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	number := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	duration := func(v *time.Duration, def time.Duration) {
		if *v <= 0 {
			*v = def
		}
	}
	number(&o.MaxRecv, 4<<20)
	number(&o.MaxSend, 4<<20)
	number(&o.Streams, 1)
	number(&o.Window, 1)
	duration(&o.AckWait, 5*time.Second)
	duration(&o.ConnectTimeout, 5*time.Second)
	duration(&o.DrainTimeout, 30*time.Second)
	duration(&o.RetryEvery, 3*time.Second)
	duration(&o.ResolveEvery, 30*time.Second)
	if o.Resolve == nil {
		o.Resolve = net.DefaultResolver.LookupHost
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Host == "" {
		o.Host = "turnbuckle"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}
