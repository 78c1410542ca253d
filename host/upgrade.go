package host

import (
	"io"
	"sync/atomic"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// splice joins the client's connection with the upstream's after a switch of protocols, until both directions have
// ended. The end of one direction is passed on as a half-close where the connections know it.
func (st *state) splice() {
	f := st.f
	hijacker, ok := f.Client.(flow.Hijacker)
	if !ok {
		st.failure = "this connection cannot switch protocols"
		f.X.Response().Fill(502, 0)
		f.Client.WriteHeader(502, f.X.Response().Header(), 0)
		return
	}
	h := f.X.Response().Header()
	h.Filter(func(f sdk.Field) bool { // of what concerns one connection, the switch alone is passed on
		return !flow.HopByHop(f.Name) || sdk.EqualFold(f.Name, "Upgrade")
	})
	client, err := hijacker.Hijack(h)
	if err != nil {
		st.failure = firstLine(err.Error())
		return
	}
	st.begun = true
	st.hold()
	defer client.Close() //nolint:errcheck // both ends are done
	upstream := f.Reply.Upgraded
	var in atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		n, err := io.Copy(upstream, client)
		in.Store(n)
		finish(upstream, err)
	}()
	n, err := io.Copy(client, upstream)
	f.BytesOut += n
	finish(client, err)
	if err != nil {
		_ = upstream.Close() // ends the other direction, too
		_ = client.Close()
	}
	<-done
	if st.wasCut() {
		st.failure = errCut.Error()
	}
	f.BytesIn += in.Load()
}

// finish passes the end of what was written to c on: half-closed after a clean end, closed after an error.
func finish(c io.Closer, err error) {
	half, ok := c.(interface{ CloseWrite() error })
	if err == nil && ok && half.CloseWrite() == nil {
		return
	}
	_ = c.Close()
}
