package sdk

import (
	"encoding/json"
	"fmt"
	"strings"
)

// CorrelationValue names the value by which a hook gives an exchange another request id: a [Correlation] as JSON.
const CorrelationValue = "correlation"

// Correlation is what a hook says an exchange is known by.
type Correlation struct {
	// ID takes the place of the gateway's own request id, in logs, records, events and spans, and for later hooks, from
	// when the hook returns. See ValidRequestID.
	ID string `json:"id"`
	// Reply is the header in which the client gets it, whoever answers; "" for none.
	Reply string `json:"reply,omitempty"`
}

// ValidRequestID reports whether s may be a request id: 1 to 128 visible ASCII characters without quotation marks,
// backslash, comma, semicolon and percent sign, so that it can stand in every header and log as it is.
func ValidRequestID(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case tokenByte[c] && c != '%': // most are
		case c <= ' ' || c > '~', c == '"', c == '\\', c == ',', c == ';', c == '%':
			return false
		}
	}
	return true
}

// said is what Correlate has said. Most exchanges run their hooks in the gateway's process, where nobody asks for the
// value: it is written when somebody does.
type said struct {
	Correlation      // zero: nothing, or something else stands in the value
	unwritten   bool // the value does not say it yet
	fresh       bool // since Begin
}

// Correlate gives the exchange another request id once the hook returns, wherever it runs. It is a value of the exchange
// ([CorrelationValue]).
func (x *Exchange) Correlate(c Correlation) error {
	if err := c.check(); err != nil {
		return err
	}
	x.changed |= ChangedValues
	x.said = said{c, true, true}
	return nil
}

// write brings into the value what Correlate has said.
func (x *Exchange) write() {
	c := &x.said
	if !c.unwritten {
		return
	}
	c.unwritten = false
	data := make([]byte, 0, len(beforeID)+len(c.ID)+len(beforeReply)+len(c.Reply)+len(afterAll))
	data = append(append(data, beforeID...), c.ID...)
	if c.Reply != "" {
		data = append(append(data, beforeReply...), c.Reply...)
	}
	x.put(Value{CorrelationValue, append(data, afterAll...), c.fresh})
}

// How a correlation is written: nothing in an id or a name of a header has to be escaped.
const (
	beforeID    = `{"id":"`
	beforeReply = `","reply":"`
	afterAll    = `"}`
)

// Correlation returns what a hook has said by Correlate; zero when none has, or when what is left under
// [CorrelationValue] says nothing that can be used.
func (x *Exchange) Correlation() Correlation {
	if x.said.ID != "" {
		return x.said.Correlation
	}
	data := x.Value(CorrelationValue)
	if data == nil {
		return Correlation{}
	}
	var c Correlation
	if text, ok := strings.CutPrefix(string(data), beforeID); ok { // from a process whose SDK wrote it, most likely
		text, ok = strings.CutSuffix(text, afterAll)
		c.ID, c.Reply, _ = strings.Cut(text, beforeReply)
		if ok && c.check() == nil {
			return c
		}
	}
	c = Correlation{}
	if json.Unmarshal(data, &c) != nil || c.check() != nil {
		return Correlation{}
	}
	return c
}

func (c *Correlation) check() error {
	if !ValidRequestID(c.ID) {
		return fmt.Errorf("%q is no request id: 1 to 128 visible characters without quotation marks, commas and the like", c.ID)
	}
	if c.Reply != "" && !ValidToken(c.Reply) {
		return fmt.Errorf("%q is no name of a header", c.Reply)
	}
	return nil
}
