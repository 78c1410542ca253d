package bundled_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
)

// A plugin.yaml cannot cost more than it is large, whoever wrote it.
func TestHostilePluginFile(t *testing.T) {
	var laughs strings.Builder
	laughs.WriteString("a0: &a0 [lol]\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&laughs, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	for name, text := range map[string]string{
		"aliases": laughs.String() + "name: guard\nversion: 1.0.0\n",
		"depth":   "name: " + strings.Repeat("[", 1<<20),
		"blocks":  strings.Repeat("- ", 1<<19),
		"anchors": strings.Repeat("&a ", 1<<18),
		"keys":    strings.Repeat("? ", 1<<19),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := bundled.Describe([]byte(text))
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; err == nil || used > 256<<20 {
			t.Errorf("%s: %d MiB, %v", name, used>>20, err)
		}
	}
}
