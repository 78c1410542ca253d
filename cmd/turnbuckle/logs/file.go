package logs

import (
	"fmt"
	"os"
	"sync"
)

// File is a file that is appended to and can be opened anew under its name, after something like logrotate has moved
// it away. Safe for concurrent use.
type File struct {
	path string
	mu   sync.Mutex
	f    *os.File
}

// Open opens a file, which is made if it is not there.
func Open(path string) (*File, error) {
	l := &File{path: path}
	return l, l.Reopen()
}

// Reopen opens the file of that name; when that fails, what is open stays.
func (l *File) Reopen() error {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("access log: %w", err)
	}
	l.mu.Lock()
	before := l.f
	l.f = f
	l.mu.Unlock()
	if before == nil {
		return nil
	}
	return before.Close()
}

// Write appends to the file.
func (l *File) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Write(p)
}

// Close closes the file.
func (l *File) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}
