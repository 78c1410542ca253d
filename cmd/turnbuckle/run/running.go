package run

import (
	"context"
	"net"
)

// Running is a gateway that serves, for who runs it and has no control listener. It is safe for concurrent use.
type Running struct{ g *gateway }

// Address is where clients come.
func (r *Running) Address() net.Addr { return r.g.front.Load().Addr() }

// Reload reads settings, definitions and plugin folders again. What is refused is in the error; the rest serves.
func (r *Running) Reload(ctx context.Context) error { return r.g.reload(ctx) }

// Dead counts the plugin servers that take no calls at the moment.
func (r *Running) Dead() int { return r.g.servers.Dead() }
