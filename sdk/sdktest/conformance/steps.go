package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Config is the configuration of the hooks.
type Config struct {
	Steps []Step `json:"steps"`
	Note  any    `json:"note,omitempty"`
}

// Step is one thing that a hook does. Which of the fields it uses, its name says.
type Step struct {
	Do      string      `json:"do"`
	Name    string      `json:"name,omitempty"`
	Value   string      `json:"value,omitempty"`
	Value64 []byte      `json:"value64,omitempty"`
	Of      string      `json:"of,omitempty"`
	Repeat  int         `json:"repeat,omitempty"`
	Status  int         `json:"status,omitempty"`
	Headers [][2]string `json:"headers,omitempty"`
	Message string      `json:"message,omitempty"`
	Level   string      `json:"level,omitempty"`
	Key     string      `json:"key,omitempty"`
	Alias   string      `json:"alias,omitempty"`
	Session *Session    `json:"session,omitempty"`
	Delta   int64       `json:"delta,omitempty"`
	MS      int64       `json:"ms,omitempty"`
	Values  []string    `json:"values,omitempty"`
}

// Session is a session as steps and reports have it: enough to see that it travels.
type Session struct {
	KeyID    string            `json:"key_id"`
	Alias    string            `json:"alias"`
	OrgID    string            `json:"org_id"`
	Rate     float64           `json:"rate"`
	QuotaMax int64             `json:"quota_max"`
	Tags     []string          `json:"tags"`
	Metadata map[string]string `json:"metadata"`
}

func run(ctx context.Context, x *sdk.Exchange, w *watch) error {
	var c Config
	if raw := x.Config(); len(raw) > 0 {
		if err := json.Unmarshal(raw, &c); err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
	}
	for i := range c.Steps {
		s := &c.Steps[i]
		if s.Do == "report" {
			if err := writeReport(x, &c, s, w); err != nil {
				return err
			}
			continue
		}
		if err := s.run(ctx, x); err != nil {
			return err
		}
	}
	return nil
}

func (s *Step) value() []byte {
	if s.Value64 != nil {
		return s.Value64
	}
	return []byte(s.Value)
}

func (s *Step) header(x *sdk.Exchange) *sdk.Header {
	if s.Of == "response" {
		return x.Response().Header()
	}
	return x.Request().Header()
}

func (s *Step) run(ctx context.Context, x *sdk.Exchange) error {
	switch s.Do {
	case "set_header":
		s.header(x).Set(s.Name, string(s.value()))
	case "add_header":
		s.header(x).Add(s.Name, string(s.value()))
	case "del_header":
		s.header(x).Del(s.Name)
	case "set_method":
		x.Request().SetMethod(s.Value)
	case "set_path":
		x.Request().SetPath(s.Value)
	case "set_query":
		x.Request().Query().SetRaw(s.Value)
	case "set_param":
		x.Request().Query().Set(s.Name, s.Value)
	case "add_param":
		x.Request().Query().Add(s.Name, s.Value)
	case "del_param":
		x.Request().Query().Del(s.Name)
	case "set_body":
		s.setBody(x)
	case "set_status":
		x.Response().SetStatus(s.Status)
	case "answer":
		addAll(x.Answer(s.Status, s.value()).Header(), s.Headers)
	default:
		return s.state(ctx, x)
	}
	return nil
}

func (s *Step) setBody(x *sdk.Exchange) {
	body := bytes.Repeat(s.value(), max(1, s.Repeat))
	if s.Of == "response" {
		x.Response().SetBody(body)
	} else {
		x.Request().SetBody(body)
	}
}

func addAll(h *sdk.Header, lines [][2]string) {
	for _, line := range lines {
		h.Add(line[0], line[1])
	}
}

// state runs the steps that concern more than the messages.
func (s *Step) state(ctx context.Context, x *sdk.Exchange) error {
	switch s.Do {
	case "refuse":
		e := &sdk.Error{Status: s.Status, Message: s.Message}
		for _, line := range s.Headers {
			e.Header = append(e.Header, sdk.Field{Name: line[0], Value: line[1]})
		}
		return e
	case "authenticate":
		x.Authenticate(s.Key, s.Alias)
	case "set_session":
		x.SetSession(s.Session.full())
	case "clear_session":
		x.SetSession(nil)
	case "set_value":
		x.SetValue(s.Name, append([]byte{}, s.value()...))
	case "del_value":
		x.SetValue(s.Name, nil)
	case "log":
		var level slog.Level
		if err := level.UnmarshalText([]byte(s.Level)); err != nil {
			return err
		}
		x.Log(level, s.Message)
	case "count":
		x.Count(s.Name, s.Delta)
	case "sleep":
		return sleep(ctx, time.Duration(s.MS)*time.Millisecond)
	case "fail":
		return errors.New(s.Message)
	case "crash":
		panic(s.Message)
	default:
		return fmt.Errorf("%s %q", Unknown, s.Do)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Session) full() *sdk.Session {
	if s == nil {
		return &sdk.Session{}
	}
	return &sdk.Session{
		KeyID: s.KeyID, Alias: s.Alias, OrgID: s.OrgID, Rate: s.Rate, QuotaMax: s.QuotaMax, Tags: s.Tags, Metadata: s.Metadata,
	}
}
