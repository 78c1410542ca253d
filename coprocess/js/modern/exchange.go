package modern

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/session"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// exchange makes x.
func (s *state) exchange() *goja.Object {
	x := s.vm.JS.NewObject()
	text := func(name string, get func(x *sdk.Exchange) string) {
		s.property(x, name, func() goja.Value { return s.vm.Text(get(s.here())) }, nil)
	}
	text("phase", func(x *sdk.Exchange) string { return x.Phase().String() })
	text("request_id", func(x *sdk.Exchange) string { return x.RequestID() })
	text("client", func(x *sdk.Exchange) string {
		if a := x.ClientAddr().Addr(); a.IsValid() {
			return a.String()
		}
		return ""
	})
	s.property(x, "client_port", func() goja.Value { return s.vm.JS.ToValue(int(s.here().ClientAddr().Port())) }, nil)
	s.property(x, "answered", func() goja.Value { return s.vm.JS.ToValue(s.here().Answered()) }, nil)
	s.property(x, "config", s.config, nil)
	s.property(x, "peer", s.peer, nil)
	s.property(x, "session", s.session, nil)

	route := s.vm.JS.NewObject()
	for name, get := range map[string]func(r *sdk.Route) string{
		"id": func(r *sdk.Route) string { return r.ID }, "name": func(r *sdk.Route) string { return r.Name },
		"org": func(r *sdk.Route) string { return r.Org }, "listen_path": func(r *sdk.Route) string { return r.ListenPath },
		"bundle": func(r *sdk.Route) string { return r.Bundle },
	} {
		s.property(route, name, func() goja.Value { return s.vm.Text(get(s.here().Route())) }, nil)
	}
	trace := s.vm.JS.NewObject()
	s.property(trace, "parent", func() goja.Value { return s.vm.Text(s.here().Trace().Parent) }, nil)
	s.property(trace, "state", func() goja.Value { return s.vm.Text(s.here().Trace().State) }, nil)
	set(x, "route", route)
	set(x, "trace", trace)
	set(x, "request", s.request())
	set(x, "response", s.response())
	s.methods(x)
	for _, o := range []*goja.Object{route, trace, x} {
		s.frozen(o)
	}
	return x
}

func (s *state) methods(x *goja.Object) {
	for name, f := range map[string]func(c goja.FunctionCall){
		"setSession": s.setSession,
		"authenticate": func(c goja.FunctionCall) {
			s.here().Authenticate(engine.Bytes(c.Argument(0)), s.optional(c.Argument(1)))
		},
		"setValue": func(c goja.FunctionCall) {
			text, ok := s.vm.Stringify(c.Argument(1))
			if nothing(c.Argument(1)) || !ok {
				s.here().SetValue(engine.Bytes(c.Argument(0)), nil)
				return
			}
			s.here().SetValue(engine.Bytes(c.Argument(0)), []byte(text))
		},
		"setRawValue": func(c goja.FunctionCall) { s.here().SetValue(engine.Bytes(c.Argument(0)), s.vm.Data(c.Argument(1))) },
		"log": func(c goja.FunctionCall) {
			var level slog.Level
			if err := level.UnmarshalText([]byte(engine.Bytes(c.Argument(0)))); err != nil {
				s.vm.Throw("unknown level %q: want debug, info, warn or error", engine.Bytes(c.Argument(0)))
			}
			s.here().Log(level, s.vm.Show(c.Argument(1)))
		},
		"count": func(c goja.FunctionCall) {
			delta := 1.0
			if v := c.Argument(1); !nothing(v) {
				delta = engine.Clamp(v, -1<<53, 1<<53)
			}
			s.here().Count(engine.Bytes(c.Argument(0)), int64(delta))
		},
		"answer": s.answer,
		"refuse": func(c goja.FunctionCall) {
			status := int(engine.Clamp(c.Argument(0), 0, 1000))
			if status < 400 || status > 599 {
				s.vm.Throw("refuse: status %d: want 400 to 599", status)
			}
			s.here()
			s.vm.Stop(&sdk.Error{Status: status, Message: s.optional(c.Argument(1)), Header: s.fields(c.Argument(2))})
		},
	} {
		set(x, name, func(c goja.FunctionCall) goja.Value { f(c); return goja.Undefined() })
	}
	set(x, "value", func(c goja.FunctionCall) goja.Value {
		data := s.value(engine.Bytes(c.Argument(0)))
		if data == nil || !json.Valid(data) {
			return goja.Undefined()
		}
		return s.vm.Parse(string(data))
	})
	set(x, "rawValue", func(c goja.FunctionCall) goja.Value {
		data := s.value(engine.Bytes(c.Argument(0)))
		return s.some(string(data), data != nil)
	})
}

// optional is text, "" for nothing.
func (s *state) optional(v goja.Value) string {
	if nothing(v) {
		return ""
	}
	return engine.Bytes(v)
}

func (s *state) answer(c goja.FunctionCall) {
	headers, content := s.fields(c.Argument(1)), s.vm.Data(c.Argument(2))
	h := s.here().Answer(int(engine.Clamp(c.Argument(0), 0, 1000)), content).Header()
	for _, f := range headers {
		h.Add(f.Name, f.Value)
	}
}

func (s *state) config() goja.Value {
	data := s.here().Config()
	if s.own != nil {
		data = s.own
	}
	if s.conf == nil {
		s.conf = goja.Null()
		if json.Valid(data) {
			s.conf = s.vm.Parse(string(data))
		}
	}
	return s.conf
}

func (s *state) peer() goja.Value {
	chain := s.here().PeerCertificates()
	if len(chain) == 0 {
		return goja.Null()
	}
	leaf, o := chain[0], s.vm.JS.NewObject()
	sum := sha256.Sum256(leaf.Raw)
	for name, value := range map[string]string{
		"subject": leaf.Subject.String(), "issuer": leaf.Issuer.String(), "serial": leaf.SerialNumber.String(), "sha256": hex.EncodeToString(sum[:]),
	} {
		set(o, name, s.vm.Text(value))
	}
	set(o, "dns_names", s.list(leaf.DNSNames))
	set(o, "not_before", leaf.NotBefore.Unix())
	set(o, "not_after", leaf.NotAfter.Unix())
	return o
}

func (s *state) session() goja.Value {
	who := s.here().Session()
	if who == nil || !s.needs.Has(sdk.NeedSession) {
		return goja.Null()
	}
	text, err := session.Encode(who, true)
	if err != nil {
		s.vm.Fail(err)
	}
	return s.vm.Parse(text)
}

func (s *state) setSession(c goja.FunctionCall) {
	if nothing(c.Argument(0)) {
		s.here().SetSession(nil)
		return
	}
	text, ok := s.vm.Stringify(c.Argument(0))
	if !ok {
		s.vm.Throw("setSession: want an object or nothing")
	}
	who, err := session.Decode(text)
	if err != nil {
		s.vm.Throw("setSession: %v", err)
	}
	s.here().SetSession(who)
}

// value is what an earlier hook left, for hooks that need it.
func (s *state) value(name string) []byte {
	if !s.needs.Has(sdk.NeedValues) {
		s.here()
		return nil
	}
	return s.here().Value(name)
}
