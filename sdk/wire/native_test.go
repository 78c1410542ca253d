package wire

import (
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// peer is a backing with certificates.
type peer struct{ sdk.Backing }

func (peer) PeerCertificates() []*x509.Certificate {
	return []*x509.Certificate{{Raw: []byte("leaf")}, {Raw: []byte("root")}}
}

func sameMessage[M proto.Message](t *testing.T, b []byte, got, want M) {
	t.Helper()
	if err := proto.Unmarshal(b, got); err != nil {
		t.Fatalf("generated code cannot read %x: %v", b, err)
	}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestAppendCall(t *testing.T) {
	fields := func() []*pluginv1.Field {
		return []*pluginv1.Field{
			{Name: "Accept", Value: []byte("application/json")}, {Name: "Authorization", Value: []byte("Bearer abcdefghijklmnop")},
			{Name: "Content-Type", Value: []byte("application/json")}, {Name: "User-Agent", Value: []byte("curl/8.5.0")},
			{Name: "Accept-Encoding", Value: []byte("gzip, br")}, {Name: "X-Forwarded-For", Value: []byte("198.51.100.1")},
		}
	}
	base := func() *pluginv1.Call {
		return &pluginv1.Call{
			Id: 7, Binding: 3, TimeoutUs: 1500, Method: []byte("POST"), Path: []byte("/one/v1/things"), Scheme: []byte("https"),
			Host: []byte("api.example.com"), Proto: []byte("HTTP/1.1"), RequestId: "01J9Z", Client: "192.0.2.7:4711", Length: 16,
		}
	}
	tests := []struct {
		name  string
		phase sdk.Phase
		needs sdk.Needs
		edit  func(x *sdk.Exchange)
		want  func(c *pluginv1.Call)
	}{
		{"nothing", sdk.Pre, sdk.Needs{Fields: sdk.NeedNothing}, nil, func(*pluginv1.Call) {}},
		{"default", sdk.Post, sdk.Needs{}, nil, func(c *pluginv1.Call) {
			c.Query, c.Headers = []byte("page=2&q=a%20b"), fields()
			c.Session = &pluginv1.Session{KeyId: "key1", Alias: "alice", OrgId: "org1", Metadata: map[string]string{"tier": "gold"}}
			c.Values = []*pluginv1.Value{{Name: "claims", Data: []byte(`{"sub":"alice"}`)}}
			c.Traceparent, c.Tracestate = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b"
		}},
		{"two headers", sdk.Pre, sdk.Needs{Fields: sdk.NeedHeaders, HeaderNames: []string{"USER-agent", "Accept", "None"}}, nil, func(c *pluginv1.Call) {
			c.Headers = []*pluginv1.Field{fields()[0], fields()[3]}
		}},
		{"body", sdk.Pre, sdk.Needs{Fields: sdk.NeedBody}, nil, func(c *pluginv1.Call) {
			c.Body, c.Length = []byte(`{"name":"thing"}`), 0
		}},
		{"empty body and other uri", sdk.Pre, sdk.Needs{Fields: sdk.NeedBody | sdk.NeedQuery}, func(x *sdk.Exchange) {
			x.Request().SetPath("/two")
			x.Request().LoadBody(nil)
		}, func(c *pluginv1.Call) {
			c.Path, c.Query, c.Uri = []byte("/two"), []byte("page=2&q=a%20b"), []byte("/one/v1/things?page=2&q=a%20b")
			c.Body, c.Length = []byte{}, 0
		}},
		{"response", sdk.ResponsePhase, sdk.Needs{Fields: sdk.NeedResponseHeaders | sdk.NeedResponseBody}, nil, func(c *pluginv1.Call) {
			c.Response = &pluginv1.Response{Status: 200, Body: []byte("hello"), Headers: []*pluginv1.Field{
				{Name: "Content-Type", Value: []byte("text/plain")}, {Name: "Set-Cookie", Value: []byte("a=1")}, {Name: "Set-Cookie", Value: []byte("b=2")},
			}}
		}},
		{"response without needs", sdk.ResponsePhase, sdk.Needs{Fields: sdk.NeedNothing}, nil, func(c *pluginv1.Call) {
			c.Response = &pluginv1.Response{Status: 200, Length: 5}
		}},
		{"peer", sdk.Pre, sdk.Needs{Fields: sdk.NeedPeer}, func(x *sdk.Exchange) {
			x.Reset(sdk.Init{Route: testRoute(), Backing: peer{}})
			x.Request().Fill(sdk.RequestInit{Method: "GET", Path: "/", Length: -1})
		}, func(c *pluginv1.Call) {
			*c = pluginv1.Call{Id: 7, Binding: 3, TimeoutUs: 1500, Method: []byte("GET"), Path: []byte("/"), Length: -1, PeerCertificates: [][]byte{[]byte("leaf"), []byte("root")}}
		}},
		{"not UTF-8", sdk.Pre, sdk.Needs{Fields: sdk.NeedHeaders}, func(x *sdk.Exchange) {
			x.Request().Header().Reset()
			x.Request().Header().Append("X-Latin", "k\xe4se")
			x.SetRequestID("\xff")
		}, func(c *pluginv1.Call) {
			c.RequestId, c.Headers = "\uFFFD", []*pluginv1.Field{{Name: "X-Latin", Value: []byte("k\xe4se")}}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := typical(tt.phase)
			if tt.edit != nil {
				tt.edit(x)
			}
			want := base()
			tt.want(want)
			b := AppendCall(AppendSeq(nil, 9), CallHeader{ID: 7, Binding: 3, Timeout: 1500 * time.Microsecond}, x, tt.needs)
			sameMessage(t, b, &pluginv1.HostFrame{}, &pluginv1.HostFrame{Seq: 9, Calls: []*pluginv1.Call{want}})
		})
	}
}

func TestSession(t *testing.T) {
	for name, s := range map[string]*sdk.Session{
		"full": fullSession(), "empty": {}, "empty triggers": {TriggerLimits: []float64{}}, "basic": {BasicAuth: &sdk.BasicAuth{}},
	} {
		t.Run(name, func(t *testing.T) {
			b := appendSessionFields(nil, s)
			got, err := decodeSession(b)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(s, got, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("round trip: -want +got\n%s", d)
			}
			m := &pluginv1.Session{}
			if err := proto.Unmarshal(b, m); err != nil {
				t.Fatal(err)
			}
			if b, err = (proto.MarshalOptions{Deterministic: true}).Marshal(m); err != nil {
				t.Fatal(err)
			}
			if got, err = decodeSession(b); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(s, got, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("by way of generated code: -want +got\n%s", d)
			}
		})
	}
	t.Run("every field of the message is set by the fixture", func(t *testing.T) {
		m := &pluginv1.Session{}
		if err := proto.Unmarshal(appendSessionFields(nil, fullSession()), m); err != nil {
			t.Fatal(err)
		}
		if d := missing(m.ProtoReflect()); len(d) > 0 {
			t.Errorf("not written: %v", d)
		}
	})
}

func TestDecodeCall(t *testing.T) {
	in := new(Incoming)
	var x sdk.Exchange
	for phase := sdk.Pre; phase <= sdk.ResponsePhase; phase++ {
		for seed := range seeds(60) {
			want := random(seed, phase)
			want.Begin(phase, nil, false)
			needs := sdk.Needs{Fields: everything}
			b := AppendCall(nil, CallHeader{ID: 1}, want, needs)
			for _, form := range forms(t, b, (&pluginv1.HostFrame{}).ProtoReflect().Descriptor()) {
				f, err := ScanHostFrame(form)
				if err != nil {
					t.Fatal(err)
				}
				for call := range f.Calls() {
					if err := in.Decode(call, &Binding{Route: testRoute()}, &x); err != nil {
						t.Fatal(err)
					}
				}
				x.Begin(phase, nil, false)
				sameExchange(t, "decoded", x.Snapshot(), want.Snapshot())
				if x.Request().Length() != want.Request().Length() || x.Response().Length() != want.Response().Length() {
					t.Errorf("lengths %d and %d, want %d and %d", x.Request().Length(), x.Response().Length(), want.Request().Length(), want.Response().Length())
				}
			}
			if t.Failed() {
				t.Fatalf("seed %d, phase %v", seed, phase)
			}
		}
	}
}

func TestUnion(t *testing.T) {
	two, three := []string{"A", "B"}, []string{"b", "C"}
	tests := []struct{ a, b, want sdk.Needs }{
		{sdk.Needs{}, sdk.Needs{Fields: sdk.NeedNothing}, sdk.Needs{Fields: sdk.NeedDefault | sdk.NeedNothing}},
		{sdk.Needs{Fields: sdk.NeedBody, BodyLimit: 1}, sdk.Needs{Fields: sdk.NeedPeer, BodyLimit: 2}, sdk.Needs{Fields: sdk.NeedBody | sdk.NeedPeer, BodyLimit: 2}},
		{sdk.Needs{Fields: sdk.NeedHeaders, HeaderNames: two}, sdk.Needs{Fields: sdk.NeedHeaders, HeaderNames: three}, sdk.Needs{Fields: sdk.NeedHeaders, HeaderNames: []string{"A", "B", "C"}}},
		{sdk.Needs{Fields: sdk.NeedHeaders, HeaderNames: two}, sdk.Needs{Fields: sdk.NeedHeaders}, sdk.Needs{Fields: sdk.NeedHeaders}},
		{sdk.Needs{Fields: sdk.NeedHeaders, HeaderNames: two}, sdk.Needs{Fields: sdk.NeedBody}, sdk.Needs{Fields: sdk.NeedHeaders | sdk.NeedBody, HeaderNames: two}},
	}
	for _, tt := range tests {
		for _, got := range []sdk.Needs{Union(tt.a, tt.b), Union(tt.b, tt.a)} {
			slices.SortFunc(got.HeaderNames, func(a, b string) int { return strings.Compare(strings.ToUpper(a), strings.ToUpper(b)) })
			for i := range got.HeaderNames {
				got.HeaderNames[i] = strings.ToUpper(got.HeaderNames[i])
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("%+v and %+v: -want +got\n%s", tt.a, tt.b, d)
			}
		}
	}
}

func TestPeerCertificates(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7)}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	var x sdk.Exchange
	in := new(Incoming)
	for _, tt := range []struct {
		sent [][]byte
		want int
	}{{[][]byte{der, der}, 2}, {nil, 0}, {[][]byte{der, []byte("no certificate")}, 0}} {
		b, err := proto.Marshal(&pluginv1.Call{Id: 1, PeerCertificates: tt.sent})
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Decode(b, &Binding{}, &x); err != nil {
			t.Fatal(err)
		}
		if certs := x.PeerCertificates(); len(certs) != tt.want || tt.want > 0 && certs[1].SerialNumber.Int64() != 7 {
			t.Errorf("got %d certificates, want %d", len(certs), tt.want)
		}
	}
}

func TestBinding(t *testing.T) {
	want := &Binding{ID: 4, Phase: sdk.Auth, Route: testRoute(), Hooks: []HookUse{{"A", []byte(`{"x":1}`)}, {"B", nil}}}
	b := AppendBinding(nil, want)
	sameMessage(t, b, &pluginv1.HostFrame{}, &pluginv1.HostFrame{Bindings: []*pluginv1.Binding{{
		Id: 4, Phase: pluginv1.Phase_PHASE_AUTH, Hooks: []*pluginv1.HookUse{{Name: "A", Config: []byte(`{"x":1}`)}, {Name: "B"}},
		Route: &pluginv1.Route{Id: "api1", Name: "One", Org: "org1", ListenPath: "/one/", Bundle: "d41d", Config: []byte(`{"a":1}`)},
	}}})
	for _, form := range forms(t, b, (&pluginv1.HostFrame{}).ProtoReflect().Descriptor()) {
		f, err := ScanHostFrame(form)
		if err != nil {
			t.Fatal(err)
		}
		for raw := range f.Bindings() {
			got, err := DecodeBinding(raw)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		}
	}
}

func TestDescribe(t *testing.T) {
	wants := sdk.RecordNeeds{Header: []string{"A", "B-*"}, ReplyHeader: []string{"*"}}
	p := &sdk.Plugin{
		Name: "p", Version: "1.2.3", ConfigSchema: []byte(`{}`), Observers: []sdk.ObserverSpec{{Name: "o"}, {Name: "n", Observer: sdk.Observing(wants, nil)}},
		Hooks: []sdk.HookSpec{{Name: "h"}, {Name: "i", Phase: sdk.Post, Needs: sdk.Needs{Fields: sdk.NeedHeaders, HeaderNames: []string{"A", "B"}, BodyLimit: 99}}},
	}
	limits := Limits{Window: 2, FrameBytes: 3, FrameCalls: 4}
	want := &Description{
		Name: "p", Version: "1.2.3", Minor: Minor, ConfigSchema: []byte(`{}`), Observers: []string{"o", "n"}, Limits: limits,
		ObserverNeeds: map[string]sdk.RecordNeeds{"n": wants},
		Hooks:         []HookInfo{{Name: "h"}, {Name: "i", Phase: sdk.Post, Needs: p.Hooks[1].Needs}},
	}
	b := AppendDescribeReply(nil, p, limits)
	sameMessage(t, b, &pluginv1.DescribeReply{}, &pluginv1.DescribeReply{
		Name: "p", Version: "1.2.3", Minor: Minor, ConfigSchema: []byte(`{}`), Observers: []string{"o", "n"},
		ObserverNeeds: []*pluginv1.ObserverNeeds{{Observer: "n", Header: []string{"A", "B-*"}, ReplyHeader: []string{"*"}}},
		Limits:        &pluginv1.Limits{Window: 2, FrameBytes: 3, FrameCalls: 4},
		Hooks: []*pluginv1.Hook{{Name: "h"}, {Name: "i", Phase: pluginv1.Phase_PHASE_POST, Needs: &pluginv1.Needs{
			Fields: uint32(sdk.NeedHeaders), HeaderNames: []string{"A", "B"}, BodyLimit: 99}}},
	})
	for _, form := range forms(t, b, (&pluginv1.DescribeReply{}).ProtoReflect().Descriptor()) {
		got, err := DecodeDescribeReply(form)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("-want +got\n%s", d)
		}
	}
	if h, ok := want.Find("h", sdk.Auth); !ok || h.Name != "h" {
		t.Error("a hook of any phase is not found")
	}
	if _, ok := want.Find("i", sdk.Auth); ok {
		t.Error("a hook of another phase is found")
	}
	host, minor, err := DecodeDescribeRequest(AppendDescribeRequest(nil, "turnbuckle 1"))
	if host != "turnbuckle 1" || minor != Minor || err != nil {
		t.Errorf("got %q, %d, %v", host, minor, err)
	}
}

func TestStats(t *testing.T) {
	stats := []sdk.Stat{{Name: "sent", Value: 1e15, Total: true}, {Name: "up", Value: -0.5}, {}}
	b := AppendStats(nil, stats)
	sameMessage(t, b, &pluginv1.StatsReply{}, &pluginv1.StatsReply{Stats: []*pluginv1.Stat{{Name: "sent", Value: 1e15, Total: true}, {Name: "up", Value: -0.5}, {}}})
	for _, form := range forms(t, b, (&pluginv1.StatsReply{}).ProtoReflect().Descriptor()) {
		got, err := DecodeStats(form)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(stats, got); d != "" {
			t.Errorf("-want +got\n%s", d)
		}
	}
	if got, err := DecodeStats(AppendStats(nil, make([]sdk.Stat, maxStats+1))); len(got) != maxStats || err != nil {
		t.Errorf("%d stats, %v, want no more than %d", len(got), err, maxStats)
	}
	for _, bad := range [][]byte{{0x0a}, {0x0a, 1, 0x0a}, {0xff}} {
		if got, err := DecodeStats(bad); !errors.Is(err, sdk.ErrProtocol) {
			t.Errorf("%x: %v, %v", bad, got, err)
		}
	}
	if got, err := DecodeStats([]byte{0x0a, 3, 0x0a, 1, 0xff}); err != nil || got[0].Name != "\uFFFD" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestBatch(t *testing.T) {
	at := time.Unix(1700000000, 123)
	records := []sdk.Record{{
		Time: at, Duration: 1, Upstream: 2, RequestID: "3", Trace: sdk.Trace{Parent: "4", State: "5"}, Route: "6", RouteName: "7", Org: "8",
		Client: netip.MustParseAddrPort("[2001:db8::1]:9"), Method: "10", Scheme: "11", Host: "12", Path: "13", Query: "14", Proto: "15",
		UserAgent: "16", Status: 17, RequestSize: 18, ReplySize: 19, Target: "20", AnsweredBy: "21", Alias: "22", KeyHash: "23",
		Tags: []string{"24", ""}, Error: "25", Hooks: []sdk.HookRecord{{Name: "a", Server: "b", Phase: sdk.Auth, Outcome: sdk.OutcomeBreaker, Changed: sdk.ChangedBody, Duration: 1, Error: "c"}, {}},
		Header: []sdk.Field{{Name: "A", Value: "\xff"}, {Name: "A", Value: ""}}, ReplyHeader: []sdk.Field{{Name: "B", Value: "c"}}, HeaderCut: true,
	}, {}}
	events := []sdk.Event{{Time: at, Type: "T", Route: "r", Org: "o", RequestID: "i", Message: "m", Meta: map[string]string{"a": "b", "": ""}}, {}}
	b := AppendObserver(AppendObserver(AppendDropped(nil, 5), "o1"), "o2")
	for i := range records {
		b = AppendRecord(b, &records[i])
	}
	for i := range events {
		b = AppendEvent(b, &events[i])
	}
	m := &pluginv1.HostFrame{}
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	if d := append(missing(m.Records[0].ProtoReflect()), missing(m.Events[0].ProtoReflect())...); len(d) > 0 {
		t.Errorf("not written: %v", d)
	}
	for _, form := range forms(t, b, m.ProtoReflect().Descriptor()) {
		f, err := ScanHostFrame(form)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Batch()
		if err != nil {
			t.Fatal(err)
		}
		want := sdk.Batch{Records: records, Events: events, Dropped: 5}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.AddrPort{})); d != "" || !f.Batched {
			t.Errorf("batched %v, -want +got\n%s", f.Batched, d)
		}
		if d := cmp.Diff([]string{"o1", "o2"}, f.Observers()); d != "" {
			t.Error(d)
		}
	}
}

func TestFrames(t *testing.T) {
	b := AppendHostDrain(AppendCancel(AppendCancel(AppendSeq(nil, 300), 5), 0))
	b = append(b, 4<<3|2, 3, 1, 0x80, 1) // packed
	f, err := ScanHostFrame(b)
	var cancels []uint64
	for id := range f.Cancels() {
		cancels = append(cancels, id)
	}
	if err != nil || f.Seq != 300 || !f.Drain || f.Batched || !cmp.Equal(cancels, []uint64{5, 0, 1, 128}) {
		t.Errorf("got %+v, cancels %v, %v", f, cancels, err)
	}
	b = AppendPluginDrain(AppendCredit(AppendAck(nil, 4), 1<<31))
	b = AppendFailure(AppendFailure(b, 1<<40, sdk.ErrOverloaded), 2, sdk.ErrUnavailable)
	p, err := ScanPluginFrame(b)
	var ids []uint64
	for id := range p.Replies() {
		ids = append(ids, id)
	}
	if err != nil || p.Ack != 4 || p.Credit != 1<<31 || !p.Drain || !cmp.Equal(ids, []uint64{1 << 40, 2}) {
		t.Errorf("got %+v, replies to %v, %v", p, ids, err)
	}
}

func TestReplyMessage(t *testing.T) {
	var x sdk.Exchange
	in := new(Incoming)
	call := AppendCall(nil, CallHeader{ID: 6, Timeout: time.Second}, typical(sdk.Pre), sdk.Needs{})
	f, _ := ScanHostFrame(call)
	for c := range f.Calls() {
		if err := in.Decode(c, &Binding{Route: testRoute()}, &x); err != nil {
			t.Fatal(err)
		}
	}
	in.Queued = 7 * time.Microsecond
	x.Begin(sdk.Pre, nil, true)
	x.Request().SetMethod("PUT")
	x.Request().SetPath("/p")
	x.Request().Query().SetRaw("q")
	x.Request().Header().Set("A", "1")
	x.Request().Header().Add("A", "2")
	x.Request().Header().Del("B")
	x.Request().SetBody(nil)
	x.SetSession(nil)
	x.SetValue("v", []byte{})
	x.SetValue("w", nil)
	x.Log(slog.LevelWarn, "careful")
	x.Count("n", -2)
	x.Count("n", -1)
	goOn := in.Done(&x, 5*time.Microsecond, nil)
	x.Begin(sdk.Pre, nil, true)
	x.Request().SetMethod("lost")
	stop := in.Done(&x, 0, &sdk.Error{Status: 418, Message: "no", Header: []sdk.Field{{Name: "H", Value: "v"}}})
	if !goOn || stop {
		t.Errorf("go on %v after success, %v after an error", goOn, stop)
	}
	changed := sdk.ChangedMethod | sdk.ChangedPath | sdk.ChangedQuery | sdk.ChangedHeader | sdk.ChangedBody | sdk.ChangedSession | sdk.ChangedValues
	set, add, del := pluginv1.HeaderOpKind_HEADER_OP_KIND_SET, pluginv1.HeaderOpKind_HEADER_OP_KIND_ADD, pluginv1.HeaderOpKind_HEADER_OP_KIND_DEL
	sameMessage(t, in.AppendReply(nil), &pluginv1.PluginFrame{}, &pluginv1.PluginFrame{Replies: []*pluginv1.Reply{{
		Id: 6, QueuedUs: 7,
		Effects: &pluginv1.Effects{
			Method: []byte("PUT"), Path: []byte("/p"), Query: []byte("q"), Body: []byte{}, ClearSession: true,
			Headers: []*pluginv1.HeaderOp{{Kind: set, Name: "A", Value: []byte("1")}, {Kind: add, Name: "A", Value: []byte("2")}, {Kind: del, Name: "B"}},
			Values:  []*pluginv1.Value{{Name: "v", Data: []byte{}}, {Name: "w"}},
		},
		Error:    &pluginv1.Error{Status: 418, Message: "no", Headers: []*pluginv1.Field{{Name: "H", Value: []byte("v")}}},
		Outcomes: []*pluginv1.HookOutcome{{DurationUs: 5, Changed: uint32(changed)}, {Hook: 1}},
		Logs:     []*pluginv1.LogLine{{Level: 4, Message: "careful"}},
		Counters: []*pluginv1.Counter{{Name: "n", Delta: -3}},
	}}})
}
