package config

import (
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// LogTarget is a place to which the gateway's log goes besides stderr.
type LogTarget struct {
	Type LogTargetType `yaml:"type"`
	// Address is udp://HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT or, for syslog, unix:///PATH.
	Address string `yaml:"address"`
	// CAFile holds PEM roots in place of the system's, for tls.
	CAFile string `yaml:"ca"`
	// Level is the least that goes there. Default: that of the log; error for sentry.
	Level LogLevel `yaml:"level"`
	// Facility is syslog's; default daemon.
	Facility string `yaml:"facility"`
	// DSN is where Sentry is, with the key for it. It is a secret.
	DSN string `yaml:"dsn"`
	// Environment is what Sentry shows of it.
	Environment string `yaml:"environment"`
}

// LogTargetType is what a target of the log speaks.
type LogTargetType string

// The types of targets.
const (
	LogSyslog   LogTargetType = "syslog"   // RFC 5424; of this machine's socket: what its daemon reads
	LogGELF     LogTargetType = "gelf"     // Graylog's, 1.1
	LogLogstash LogTargetType = "logstash" // JSON in lines
	LogSentry   LogTargetType = "sentry"
)

// UnmarshalText accepts the named types.
func (t *LogTargetType) UnmarshalText(text []byte) error {
	return oneOf(t, text, LogSyslog, LogGELF, LogLogstash, LogSentry)
}

// LogFacilities are names of syslog's facilities, by number (RFC 5424 §6.2.1).
func LogFacilities() []string {
	return []string{
		"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit",
		"alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
	}
}

// SetDefaults fills in what a target has that says nothing.
func (t *LogTarget) SetDefaults() { t.Facility = "daemon" }

func (v *validator) logTargets(targets []LogTarget) {
	for i := range targets {
		t := &targets[i]
		at := document.Index("$.log.targets", i)
		if t.Type == LogSentry {
			v.sentry(at, t)
			continue
		}
		if t.Type == "" {
			v.errorf(at+".type", "a type is required: syslog, gelf, logstash or sentry")
			continue
		}
		v.logAddress(at, t)
		if !slices.Contains(LogFacilities(), t.Facility) {
			v.errorf(at+".facility", "%q is not among %s", t.Facility, strings.Join(LogFacilities(), ", "))
		}
		if t.DSN != "" || t.Environment != "" {
			v.errorf(at+".type", "dsn and environment are sentry's")
		}
	}
}

func (v *validator) logAddress(at string, t *LogTarget) {
	u, err := url.Parse(t.Address)
	if err != nil || t.Address == "" {
		v.errorf(at+".address", "an address is required, such as tcp://logs.example.com:514")
		return
	}
	if u.Scheme == "unix" {
		if t.Type != LogSyslog || u.Host != "" || u.Path == "" {
			v.errorf(at+".address", "unix:///PATH is for syslog alone")
		}
		return
	}
	host, port, err := net.SplitHostPort(u.Host)
	switch {
	case !slices.Contains([]string{"udp", "tcp", "tls"}, u.Scheme), err != nil, host == "", !portOK(port), u.Path != "", u.User != nil, u.RawQuery != "":
		v.errorf(at+".address", "%q is not udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT", t.Address)
	case t.CAFile != "" && u.Scheme != "tls":
		v.errorf(at+".ca", "a ca is for tls:// addresses")
	}
}

// sentry looks at a DSN without showing it.
func (v *validator) sentry(at string, t *LogTarget) {
	u, err := url.Parse(t.DSN)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User.Username() == "" || strings.Trim(u.Path, "/") == "" {
		v.errorf(at+".dsn", "a DSN is required, as Sentry shows it: https://KEY@HOST/PROJECT")
	}
	if t.Address != "" || t.CAFile != "" {
		v.errorf(at+".type", "sentry has a dsn and no address")
	}
}
