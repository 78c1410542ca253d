package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// The settings that are written for a gateway lead it to what was made for it.
func TestOpenCallers(t *testing.T) {
	redis, _ := exec.LookPath("redis-server") // without it the two setups are refused
	w := workshop{redis: redis, progress: t.Logf}
	for _, s := range []setup{
		{kind: gateway, definition: "plain", keys: few},
		{kind: gateway, definition: "keylimits", keys: few},
		{kind: gateway, definition: "keylimits", keys: few, redis: "distributed"},
		{kind: gateway, definition: "jwt"},
	} {
		t.Run(s.String(), func(t *testing.T) {
			if s.redis != "" && redis == "" {
				t.Skip("there is no redis-server")
			}
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "apis"), 0o755); err != nil {
				t.Fatal(err)
			}
			f := &fixture{credential: "as it was"}
			defer f.stop()
			if err := w.openCallers(t.Context(), f, s, dir); err != nil {
				t.Fatal(err)
			}
			if (f.credential == "as it was") == s.guarded() {
				t.Errorf("credential %.10q", f.credential)
			}
			text, err := os.ReadFile(filepath.Join(dir, "turnbuckle.yaml"))
			if !s.guarded() {
				if err == nil {
					t.Error("settings for a gateway that needs none")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, problems := config.LoadSettings(config.SettingsSource{File: filepath.Join(dir, "turnbuckle.yaml"), Data: text, WorkDir: dir})
			if problems.Refused() {
				t.Fatal(problems.Err())
			}
			switch {
			case s.redis != "":
				if len(got.Store.Redis.Addresses) != 1 || got.Store.Redis.Addresses[0] != f.redis.Options().Addr || string(got.Limits.Mode) != s.redis {
					t.Errorf("store %+v, limits %+v", got.Store, got.Limits)
				}
			case got.Store.Path != filepath.Dir(f.storeFile):
				t.Errorf("store %s, want %s", got.Store.Path, f.storeFile)
			case s.keys > 0:
				if info, err := os.Stat(f.storeFile); err != nil || info.Size() < 100*few {
					t.Errorf("%v, %v", info, err)
				}
			}
		})
	}
}

func TestNoRedis(t *testing.T) {
	err := workshop{}.openCallers(t.Context(), &fixture{}, setup{kind: gateway, definition: "keylimits", redis: "exact"}, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "no redis-server") {
		t.Errorf("got %v", err)
	}
}

func TestParseRedis(t *testing.T) {
	const text = "# Stats\r\ntotal_commands_processed:90\r\ntotal_reads_processed:40\r\n\r\n# Commandstats\r\n" +
		"cmdstat_evalsha:calls=30,usec=5,usec_per_call=1.00,rejected_calls=0,failed_calls=0\r\n" +
		"cmdstat_eval:calls=1,usec=5,usec_per_call=1.00,rejected_calls=0,failed_calls=0\r\ncmdstat_get:calls=7,usec=1\r\n"
	got, err := parseRedis(text)
	if err != nil || got.reads != 40 || got.scripts != 31 {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, odd := range []string{"", "total_reads_processed:many\r\n", "total_reads_processed:1\r\ncmdstat_eval:calls=,usec=1\r\n"} {
		if _, err := parseRedis(odd); err == nil {
			t.Errorf("no error for %q", odd)
		}
	}
}

// Asking for the counters is not in them.
func TestReadRedis(t *testing.T) {
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("there is no redis-server")
	}
	f := &fixture{}
	defer f.stop()
	if err := (workshop{redis: redis}).openRedis(t.Context(), f, setup{keys: 1}, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	before, err := readRedis(t.Context(), f.redis)
	for range 100 { // connections that seeded it may be closing yet
		var after redisCounters
		if err == nil {
			after, err = readRedis(t.Context(), f.redis)
		}
		if err != nil {
			t.Fatal(err)
		}
		if after.trips(before) == 0 {
			return
		}
		before = after
	}
	t.Error("there are trips while nobody asks")
}
