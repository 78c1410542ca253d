package observe

import (
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"go.opentelemetry.io/otel/trace"
)

// remote is the caller's span as its headers name it. Without one good traceparent there is none, and tracestate means
// nothing (W3C Trace Context §4.3); a tracestate that cannot be read is left out (§3.3).
func remote(h *sdk.Header) (trace.SpanContext, bool) {
	var parent string
	var states []string
	for name, value := range h.All() {
		switch {
		case sdk.EqualFold(name, "Traceparent"):
			if parent != "" {
				return trace.SpanContext{}, false
			}
			parent = value
		case sdk.EqualFold(name, "Tracestate"):
			states = append(states, value)
		}
	}
	c, ok := ParseTraceparent(parent)
	if ok && len(states) > 0 {
		if state, err := trace.ParseTraceState(strings.Join(states, ",")); err == nil {
			c = c.WithTraceState(state)
		}
	}
	return c, ok
}

// Traceparent writes a span context as a traceparent value (W3C Trace Context §3.2); "" when it is not valid.
func Traceparent(c trace.SpanContext) string {
	if !c.IsValid() {
		return ""
	}
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-" + c.TraceFlags().String()
}

// ParseTraceparent reads a traceparent value (W3C Trace Context §3.2). Versions after 00 are read as far as 00 goes, as
// the specification asks. Of the flags it keeps sampled, the only one that version 00 knows.
func ParseTraceparent(s string) (trace.SpanContext, bool) {
	const size = len("00-00000000000000000000000000000000-0000000000000000-00")
	if len(s) < size || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return trace.SpanContext{}, false
	}
	version, known := hexByte(s[:2])
	flags, readable := hexByte(s[53:size])
	if !known || !readable || version == 0xff {
		return trace.SpanContext{}, false
	}
	if len(s) > size && (version == 0 || s[size] != '-') {
		return trace.SpanContext{}, false
	}
	id, err := trace.TraceIDFromHex(s[3:35])
	if err != nil {
		return trace.SpanContext{}, false
	}
	span, err := trace.SpanIDFromHex(s[36:52])
	if err != nil {
		return trace.SpanContext{}, false
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: id, SpanID: span, TraceFlags: trace.TraceFlags(flags) & trace.FlagsSampled, Remote: true,
	}), true
}

// hexByte reads two digits; the specification knows lower case only.
func hexByte(s string) (byte, bool) {
	hi, lo := strings.IndexByte(hexDigits, s[0]), strings.IndexByte(hexDigits, s[1])
	if hi < 0 || lo < 0 {
		return 0, false
	}
	return byte(hi<<4 | lo), true
}
