package logs

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/logs/remote"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// Loggers that are in use write as the settings say now, with what they carry.
func TestChanging(t *testing.T) {
	var out bytes.Buffer
	lines := NewChanging(t.Context(), &out, config.Log{Level: config.LevelWarn, Format: config.LogText}, remote.Identity{})
	log := slog.New(lines)
	made := log.With("a", 1).WithGroup("g").With("b", 2)
	made.Info("not yet")
	made.Warn("first", "c", 3)
	lines.Set(config.Log{Level: config.LevelDebug, Format: config.LogJSON})
	made.Debug("second", "c", 4)
	lines.Set(config.Log{Level: config.LevelError, Format: config.LogText})
	made.Warn("no more")
	slog.New(lines.All()).With("a", 5).Info("all the same")
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(got) != 3 || !strings.HasSuffix(got[2], `level=INFO msg="all the same" a=5`) || !strings.HasSuffix(got[0], "level=WARN msg=first a=1 g.b=2 g.c=3") ||
		!strings.HasSuffix(got[1], `"level":"DEBUG","msg":"second","a":1,"g":{"b":2,"c":4}}`) {
		t.Errorf("got %q", got)
	}
}
