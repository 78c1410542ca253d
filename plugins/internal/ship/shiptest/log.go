package shiptest

import (
	"log/slog"
	"strings"
	"sync"
)

// Log makes a logger, and a function that returns what it was told so far. Both are safe for concurrent use.
func Log() (*slog.Logger, func() string) {
	b := &told{}
	return slog.New(slog.NewTextHandler(b, nil)), b.String
}

type told struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements [io.Writer].
func (b *told) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String returns all that was written.
func (b *told) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
