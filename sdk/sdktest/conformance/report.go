package conformance

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// report is what a hook sees.
type report struct {
	Phase      string             `json:"phase"`
	Method     string             `json:"method"`
	Path       string             `json:"path"`
	Query      string             `json:"query"`
	URI        string             `json:"uri"`
	Scheme     string             `json:"scheme"`
	Host       string             `json:"host"`
	Proto      string             `json:"proto"`
	Client     string             `json:"client"`
	ClientPort uint16             `json:"client_port"`
	RequestID  string             `json:"request_id"`
	Headers    []line             `json:"headers"`
	Length     int64              `json:"length"`
	Body       *[]byte            `json:"body"`
	ParamQ     []string           `json:"param_q"`
	Route      route              `json:"route"`
	Note       any                `json:"note"`
	Trace      trace              `json:"trace"`
	Peer       *string            `json:"peer"`
	Session    *Session           `json:"session"`
	Values     map[string]*[]byte `json:"values"`
	Response   *response          `json:"response"`
	Observed   observed           `json:"observed"`
}

// line is a header line; the value is in base64.
type line [2]any

type route struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Org        string `json:"org"`
	ListenPath string `json:"listen_path"`
	Bundle     string `json:"bundle"`
}

type trace struct {
	Parent string `json:"parent"`
	State  string `json:"state"`
}

type response struct {
	Status  int     `json:"status"`
	Headers []line  `json:"headers"`
	Body    *[]byte `json:"body"`
}

type observed struct {
	Records []string `json:"records"`
	Events  []string `json:"events"`
}

// writeReport answers with a report.
func writeReport(x *sdk.Exchange, c *Config, s *Step, w *watch) error {
	q := x.Request()
	r := report{
		Phase: x.Phase().String(), Method: q.Method(), Path: q.Path(), Query: q.Query().Raw(), URI: q.URI(), Scheme: q.Scheme(), Host: q.Host(), Proto: q.Proto(),
		ClientPort: x.ClientAddr().Port(), RequestID: x.RequestID(), Headers: lines(q.Header()), Length: q.Length(), ParamQ: append([]string{}, q.Query().Values("q")...),
		Note: c.Note, Trace: trace{x.Trace().Parent, x.Trace().State}, Values: map[string]*[]byte{}, Observed: w.seen(),
		Route: route{x.Route().ID, x.Route().Name, x.Route().Org, x.Route().ListenPath, x.Route().Bundle},
	}
	if a := x.ClientAddr().Addr(); a.IsValid() {
		r.Client = a.String()
	}
	if q.Buffered() {
		r.Body = bytesOf(q.Body())
	}
	if chain := x.PeerCertificates(); len(chain) > 0 {
		sum := sha256.Sum256(chain[0].Raw)
		text := hex.EncodeToString(sum[:])
		r.Peer = &text
	}
	if v := x.Session(); v != nil {
		r.Session = &Session{v.KeyID, v.Alias, v.OrgID, v.Rate, v.QuotaMax, append([]string{}, v.Tags...), map[string]string{}}
		maps.Copy(r.Session.Metadata, v.Metadata)
	}
	for _, name := range s.Values {
		r.Values[name] = nil
		if data := x.Value(name); data != nil {
			r.Values[name] = bytesOf(data)
		}
	}
	if p := x.Response(); p.Status() != 0 {
		r.Response = &response{Status: p.Status(), Headers: lines(p.Header())}
		if p.Buffered() {
			r.Response.Body = bytesOf(p.Body())
		}
	}
	data, err := json.Marshal(&r)
	if err != nil {
		return err
	}
	x.Answer(200, data).Header().Set("Content-Type", "application/json")
	return nil
}

// bytesOf makes an empty slice differ from none.
func bytesOf(b []byte) *[]byte {
	c := append([]byte{}, b...)
	return &c
}

func lines(h *sdk.Header) []line {
	all := []line{}
	for name, value := range h.All() {
		all = append(all, line{name, []byte(value)})
	}
	return all
}
