package host

import (
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// BenchmarkChain is what a request costs between front and upstream, its key one of a thousand, each goroutine with a
// flow that it uses again as a front does. Run it with -cpu 1,2,4,8: ns/op must not grow with the cores, as far as the
// machine has them.
func BenchmarkChain(b *testing.B) {
	const keys = 1000
	for _, test := range []struct{ name, definition string }{
		{"open", ""},
		{"key", "auth: {all: [token]}\nlimits: {ignore_key_rate: true, ignore_key_quota: true}\n"},
		{"key, rate and quota", "auth: {all: [token]}\n"},
		{"key, rate, quota and the API's rate", "auth: {all: [token]}\nlimits: {rate: {requests: 1000000000, per: 1s}}\n"},
	} {
		b.Run(test.name, func(b *testing.B) {
			k := newKeyed(b, nil, nil)
			d := definition(b, ownAPI+test.definition)
			if err := k.Load(b.Context(), config.Set{Definitions: []*config.Definition{d}}, silent{k.w}, false); err != nil {
				b.Fatal(err)
			}
			var tokens [keys]string
			for i := range tokens {
				tokens[i] = k.key(b, "key-"+strconv.Itoa(i), &identity.Session{
					Rate: 1e9, Per: 1, QuotaMax: 1 << 50, QuotaRenewalRate: 3600, AccessRights: map[string]identity.Access{"a": {Versions: []string{"Default"}}},
				})
			}
			var goroutines atomic.Int64
			began := processtest.CPU(b)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				f, ctx := &flow.Flow{}, b.Context()
				for i := int(goroutines.Add(1)) * 331; pb.Next(); i++ {
					f.Reset()
					f.Ctx, f.Client, f.Start = ctx, discard{}, time.Now()
					f.X.Reset(sdk.Init{Client: netip.AddrPortFrom(netip.IPv4Unspecified(), 99), Backing: f})
					f.X.Request().Fill(sdk.RequestInit{Method: "GET", Scheme: "http", Host: "h:80", Path: "/a/b", URI: "/a/b", Proto: "HTTP/1.1"})
					f.X.Request().Header().Append("Authorization", tokens[i%keys])
					k.Serve(f)
					if f.X.Response().Status() != 204 {
						b.Fatal(f.X.Response().Status())
					}
				}
			})
			b.ReportMetric(float64(processtest.CPU(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}
