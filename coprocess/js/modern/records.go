package modern

import (
	"encoding/json"
	"time"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// What observers get, as JSON: they are off the request's path.
type batchJSON struct {
	Records []recordJSON `json:"records"`
	Events  []eventJSON  `json:"events"`
	Dropped uint64       `json:"dropped"`
}

type recordJSON struct {
	RequestID   string      `json:"request_id"`
	Route       string      `json:"route"`
	RouteName   string      `json:"route_name"`
	Org         string      `json:"org"`
	Method      string      `json:"method"`
	Scheme      string      `json:"scheme"`
	Host        string      `json:"host"`
	Path        string      `json:"path"`
	Query       string      `json:"query"`
	Proto       string      `json:"proto"`
	UserAgent   string      `json:"user_agent"`
	Target      string      `json:"target"`
	AnsweredBy  string      `json:"answered_by"`
	Alias       string      `json:"alias"`
	KeyHash     string      `json:"key_hash"`
	Error       string      `json:"error"`
	TraceParent string      `json:"trace_parent"`
	Client      string      `json:"client,omitempty"`
	Time        float64     `json:"time"`
	Duration    float64     `json:"duration"`
	Upstream    float64     `json:"upstream"`
	Status      int         `json:"status"`
	RequestSize int64       `json:"request_size"`
	ReplySize   int64       `json:"reply_size"`
	Tags        []string    `json:"tags"`
	Hooks       []hookJSON  `json:"hooks"`
	Header      [][2]string `json:"header"`
	ReplyHeader [][2]string `json:"reply_header"`
	HeaderCut   bool        `json:"header_cut"`
}

type hookJSON struct {
	Name     string   `json:"name"`
	Server   string   `json:"server"`
	Phase    string   `json:"phase"`
	Outcome  string   `json:"outcome"`
	Error    string   `json:"error"`
	Duration float64  `json:"duration"`
	Changed  []string `json:"changed"`
}

type eventJSON struct {
	Type      string            `json:"type"`
	Route     string            `json:"route"`
	Org       string            `json:"org"`
	RequestID string            `json:"request_id"`
	Message   string            `json:"message"`
	Time      float64           `json:"time"`
	Meta      map[string]string `json:"meta"`
}

func batch(vm *engine.VM, b sdk.Batch) goja.Value {
	out := batchJSON{Records: []recordJSON{}, Events: []eventJSON{}, Dropped: b.Dropped}
	for i := range b.Records {
		out.Records = append(out.Records, record(&b.Records[i]))
	}
	for i := range b.Events {
		e := &b.Events[i]
		out.Events = append(out.Events, eventJSON{e.Type, e.Route, e.Org, e.RequestID, e.Message, unix(e.Time), e.Meta})
	}
	text, err := json.Marshal(&out)
	if err != nil {
		vm.Fail(err)
	}
	return vm.Parse(string(text))
}

func record(r *sdk.Record) recordJSON {
	out := recordJSON{
		RequestID: r.RequestID, Route: r.Route, RouteName: r.RouteName, Org: r.Org, Method: r.Method, Scheme: r.Scheme, Host: r.Host, Path: r.Path,
		Query: r.Query, Proto: r.Proto, UserAgent: r.UserAgent, Target: r.Target, AnsweredBy: r.AnsweredBy, Alias: r.Alias, KeyHash: r.KeyHash,
		Error: r.Error, TraceParent: r.Trace.Parent, Time: unix(r.Time), Duration: r.Duration.Seconds(), Upstream: r.Upstream.Seconds(),
		Status: r.Status, RequestSize: r.RequestSize, ReplySize: r.ReplySize, Tags: append([]string{}, r.Tags...), Hooks: []hookJSON{},
	}
	out.Header, out.ReplyHeader, out.HeaderCut = fields(r.Header), fields(r.ReplyHeader), r.HeaderCut
	if a := r.Client.Addr(); a.IsValid() {
		out.Client = a.String()
	}
	for i := range r.Hooks {
		h := &r.Hooks[i]
		out.Hooks = append(out.Hooks, hookJSON{
			h.Name, h.Server, h.Phase.String(), h.Outcome.String(), h.Error, h.Duration.Seconds(), append([]string{}, h.Changed.Names()...),
		})
	}
	return out
}

func fields(list []sdk.Field) [][2]string {
	out := make([][2]string, len(list))
	for i, f := range list {
		out[i] = [2]string{f.Name, f.Value}
	}
	return out
}

func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}
