package address

import "testing"

func TestParse(t *testing.T) {
	for in, want := range map[string]Target{
		"unix:a": {Network: "unix", Address: "a"}, "unix:///a": {Network: "unix", Address: "/a"},
		"tcp://127.0.0.1:1": {Network: "tcp", Address: "127.0.0.1:1"}, "[::1]:1": {Network: "tcp", Address: "[::1]:1"},
		"dns:///host:1": {Network: "tcp", Address: "host:1", DNS: true},
	} {
		if got, err := Parse(in); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "unix:", "unix://relative", "http://x:1", "dns://server/x:1", "dns:///x", "host", "tcp://"} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("%s: got %+v", bad, got)
		}
	}
}
