package ship

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/record"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Settings are what every shipping plugin can be told. A field that is nil or zero takes the default, which Complete
// fills in; plugins embed Settings in their own configuration.
type Settings struct {
	Send  SendSettings  `json:"send"`
	Batch BatchSettings `json:"batch"`
	Queue QueueSettings `json:"queue"`
	Retry RetrySettings `json:"retry"`
	Spool SpoolSettings `json:"spool"`
}

// SendSettings say what is sent, and what of it.
type SendSettings struct {
	// Requests is "all" (the default), "errors" (status 400 and above) or "none".
	Requests string `json:"requests"`
	// Events is "all" (the default) or "none".
	Events string `json:"events"`
	// Fields and Without choose fields of the schema (see [record.Options]).
	Fields  []string `json:"fields"`
	Without []string `json:"without"`
	// Headers and ResponseHeaders are the header fields of requests and replies that are sent. Default none.
	Headers         Names `json:"headers"`
	ResponseHeaders Names `json:"response_headers"`
	// Secret are names of further query parameters and header fields whose values are hidden; ShowSecrets hides no others.
	Secret      []string `json:"secret"`
	ShowSecrets bool     `json:"show_secrets"`
}

// BatchSettings bound what is sent at a time: what comes first ends a batch.
type BatchSettings struct {
	Count int      `json:"count"` // default 500
	Size  Size     `json:"size"`  // default 1MiB
	Wait  Duration `json:"wait"`  // how long the first waits for more; default 1s
}

// QueueSettings bound what waits in memory.
type QueueSettings struct {
	Count int  `json:"count"` // default 20000
	Size  Size `json:"size"`  // default 32MiB
}

// RetrySettings say how a batch is tried again: after First, then after twice as long each time up to Max, half of it by
// chance; or when the other side says, up to ten times Max.
type RetrySettings struct {
	First   Duration `json:"first"`   // default 500ms
	Max     Duration `json:"max"`     // default 30s
	Timeout Duration `json:"timeout"` // of one attempt; default 10s
}

// SpoolSettings bound what waits on disk while the other side is down.
type SpoolSettings struct {
	// Size is the bound; "0" keeps nothing on disk. Default 256MiB.
	Size *Size `json:"size"`
	// Always writes to disk first, so that not even a crash loses what was accepted.
	Always bool `json:"always"`
}

// Complete fills in the defaults and reports what is wrong.
func (s *Settings) Complete() error {
	Default(&s.Send.Requests, "all")
	Default(&s.Send.Events, "all")
	Default(&s.Batch.Count, 500)
	Default(&s.Batch.Size, 1<<20)
	Default(&s.Batch.Wait, Duration(time.Second))
	Default(&s.Queue.Count, 20_000)
	Default(&s.Queue.Size, 32<<20)
	Default(&s.Retry.First, Duration(500*time.Millisecond))
	Default(&s.Retry.Max, Duration(30*time.Second))
	Default(&s.Retry.Timeout, Duration(10*time.Second))
	if s.Spool.Size == nil {
		size := Size(256 << 20)
		s.Spool.Size = &size
	}
	const least = 1 << 20
	switch size := *s.Spool.Size; {
	case s.Send.Requests != "all" && s.Send.Requests != "errors" && s.Send.Requests != "none":
		return fmt.Errorf("send.requests: %q: all, errors or none", s.Send.Requests)
	case s.Send.Events != "all" && s.Send.Events != "none":
		return fmt.Errorf("send.events: %q: all or none", s.Send.Events)
	case s.Batch.Count > s.Queue.Count || s.Batch.Size > s.Queue.Size:
		return errors.New("batch: a batch must fit into the queue")
	case s.Retry.First > s.Retry.Max:
		return errors.New("retry: first is longer than max")
	case size != 0 && size < least:
		return fmt.Errorf("spool.size: %d bytes: 0, or at least 1MiB", size)
	case s.Spool.Always && size == 0:
		return errors.New("spool.always: there is no spool: give spool.size")
	}
	_, err := s.Send.encoder()
	return err
}

// needs is what the settings want in records.
func (s *SendSettings) needs() sdk.RecordNeeds {
	if s.Requests == "none" {
		return sdk.RecordNeeds{}
	}
	return sdk.RecordNeeds{Header: s.Headers, ReplyHeader: s.ResponseHeaders}
}

func (s *SendSettings) encoder() (*record.Encoder, error) {
	e, err := record.NewEncoder(record.Options{Only: s.Fields, Without: s.Without, Secret: s.Secret, ShowSecrets: s.ShowSecrets})
	if err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	return e, nil
}

// Read decodes a plugin's configuration into s and runs the steps that complete and check it, up to the first that fails. The
// error bears the plugin's name.
func Read[T any](plugin string, config json.RawMessage, s *T, steps ...func() error) (*T, error) {
	err := Decode(config, s)
	for i := 0; err == nil && i < len(steps); i++ {
		err = steps[i]()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", plugin, err)
	}
	return s, nil
}

// Default gives a setting that says nothing the value that it has then.
func Default[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// ParsePrefix reads a prefix of addresses, or an address, which is one as long as an address. Addresses of IPv4 that are
// written as such of IPv6 are those of IPv4.
func ParsePrefix(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a prefix such as 192.0.2.0/24", text)
	}
	addr = addr.Unmap()
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// Duration is a time that is written like 500ms, 30s or 2m, and positive.
type Duration time.Duration

// UnmarshalText reads it.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v <= 0 {
		return fmt.Errorf("%q is no duration such as 500ms or 30s", text)
	}
	*d = Duration(v)
	return nil
}

// Size is a number of bytes, written as a number or like 64KiB, 16MiB or 1GiB.
type Size int64

// UnmarshalJSON reads it.
func (s *Size) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	number, factor := text, int64(1)
	for unit, f := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if n, ok := strings.CutSuffix(text, unit); ok {
			number, factor = n, f
		}
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 0 {
		return fmt.Errorf("%s is no size such as 1048576, 64KiB or 16MiB", data)
	}
	*s = Size(n * factor)
	return nil
}
