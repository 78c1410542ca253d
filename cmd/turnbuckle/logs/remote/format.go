package remote

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// line is a line of the log: what slog's JSON handler wrote, taken apart.
type line struct {
	time    time.Time
	level   string // DEBUG, INFO, WARN or ERROR
	message string
	attrs   map[string]any
}

func parseLine(text []byte) (line, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	l := line{}
	if err := d.Decode(&l.attrs); err != nil {
		return l, fmt.Errorf("log line: %w", err)
	}
	l.level, _ = l.attrs["level"].(string)
	l.message, _ = l.attrs["msg"].(string)
	at, _ := l.attrs["time"].(string)
	var err error
	if l.time, err = time.Parse(time.RFC3339Nano, at); err != nil {
		return l, fmt.Errorf("log line: %w", err)
	}
	for _, key := range []string{"time", "level", "msg"} {
		delete(l.attrs, key)
	}
	return l, nil
}

// formatter writes lines as targets want them.
type formatter struct {
	id       Identity
	facility int
}

// facilities are names of syslog's facilities, by number (RFC 5424 §6.2.1).
func facilities() []string { return config.LogFacilities() }

// severity is syslog's number of a level (RFC 5424 §6.2.1), which GELF has, too.
func severity(level string) int {
	switch {
	case strings.HasPrefix(level, "ERROR"):
		return 3
	case strings.HasPrefix(level, "WARN"):
		return 4
	case strings.HasPrefix(level, "INFO"):
		return 6
	}
	return 7
}

// priority is facility and severity in one (RFC 5424 §6.2.1).
func (f *formatter) priority(l line) int { return max(f.facility, 0)*8 + severity(l.level) }

// text is a line for people: its message and what it carries.
func (l *line) text() ([]byte, error) {
	if len(l.attrs) == 0 {
		return []byte(l.message), nil
	}
	attrs, err := marshal(l.attrs)
	return append([]byte(l.message+" "), attrs...), err
}

const app = "turnbuckle"

// syslog writes a line as RFC 5424 §6 has it, without structured data.
func (f *formatter) syslog(l line) ([]byte, error) {
	text, err := l.text()
	host := f.id.Host
	if host == "" {
		host = "-"
	}
	const stamp = "2006-01-02T15:04:05.000000Z07:00" // §6.2.3
	return append(fmt.Appendf(nil, "<%d>1 %s %s %s %d - - ", f.priority(l), l.time.Format(stamp), host, app, f.id.PID), text...), err
}

// local writes a line as the daemon of this machine wants it (RFC 3164 §4.1, without a host).
func (f *formatter) local(l line) ([]byte, error) {
	text, err := l.text()
	return append(fmt.Appendf(nil, "<%d>%s %s[%d]: ", f.priority(l), l.time.Local().Format(time.Stamp), app, f.id.PID), text...), err
}

// logstash writes a line as Logstash's json codec and its event format have it.
func (f *formatter) logstash(l line) ([]byte, error) {
	m := l.attrs
	m["@timestamp"], m["@version"] = l.time.UTC().Format(time.RFC3339Nano), "1"
	m["level"], m["message"], m["application"], m["host"] = strings.ToLower(l.level), l.message, app, f.id.Host
	return marshal(m)
}

// gelf writes a line as GELF 1.1, whose further fields are flat, and texts or numbers.
func (f *formatter) gelf(l line) ([]byte, error) {
	m := map[string]any{
		"version": "1.1", "host": f.id.Host, "short_message": l.message, "level": severity(l.level), "_application": app,
		"timestamp": json.Number(fmt.Sprintf("%d.%06d", l.time.Unix(), l.time.Nanosecond()/1000)),
	}
	flatten(m, "_", l.attrs)
	return marshal(m)
}

// flatten puts what is in groups beside what is not: a.b is _a.b.
func flatten(to map[string]any, prefix string, attrs map[string]any) {
	for key, value := range attrs {
		name := prefix + strings.Map(gelfName, key)
		if name == "_id" {
			name = "__id" // GELF has another use for it
		}
		switch v := value.(type) {
		case map[string]any:
			flatten(to, name+".", v)
		case string, json.Number:
			to[name] = v
		default:
			to[name] = fmt.Sprint(v)
		}
	}
}

// gelfName keeps what names of fields may be made of.
func gelfName(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
		return r
	}
	return '_'
}

// marshal encodes without escaping for HTML: people read it.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
