// Package peers holds what stands around the measured gateway: the upstream, and the baseline proxy that its cost
// is a ratio of.
package peers

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
)

// ServeBaseline proxies everything to target as a Go programmer would: httputil.ReverseProxy with pooled 32 KiB
// buffers, forwarded-for headers, and a transport that keeps its connections. It returns when the context ends.
func ServeBaseline(ctx context.Context, address string, target *url.URL) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: baseline(target)}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	return server.Serve(listener)
}

func baseline(target *url.URL) http.Handler {
	transport := &http.Transport{
		MaxIdleConns:        4096,
		MaxIdleConnsPerHost: 1024,
		DisableCompression:  true,
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
		},
		Transport:  transport,
		BufferPool: &buffers{pool: sync.Pool{New: func() any { return new([32 << 10]byte) }}},
	}
}

// buffers is a httputil.BufferPool.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte { return b.pool.Get().(*[32 << 10]byte)[:] }

func (b *buffers) Put(buffer []byte) { b.pool.Put((*[32 << 10]byte)(buffer)) }
