package webhook

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
)

// deadLetters is a file of what was given up, a JSON object in each line, and the one before it: when the file has
// reached half of the bound it takes the place of the older one. One goroutine uses it.
type deadLetters struct {
	path string // "": none are kept
	size int64
}

// letter is a line of the file.
type letter struct {
	Time  time.Time `json:"time"`
	ID    string    `json:"id"`
	Error string    `json:"error"`
	Body  string    `json:"body"`
	// Base64 is the body, encoded, when it is not UTF-8.
	Base64 []byte `json:"body_base64,omitempty"`
}

func newDeadLetters(dir, place string, size ship.Size) *deadLetters {
	if dir == "" || size == 0 {
		return &deadLetters{}
	}
	return &deadLetters{path: filepath.Join(dir, "webhook-"+place+".dead.jsonl"), size: int64(size)}
}

// write keeps items that were given up.
func (d *deadLetters) write(items []ship.Item, why error) error {
	if d.path == "" {
		return nil
	}
	var lines []byte
	for _, i := range items {
		l := letter{Time: time.Now().UTC(), ID: string(i.Key), Error: why.Error()}
		if utf8.Valid(i.Body) {
			l.Body = string(i.Body)
		} else {
			l.Base64 = i.Body
		}
		line, err := json.Marshal(l)
		if err != nil {
			return err
		}
		lines = append(append(lines, line...), '\n')
	}
	if err := d.turn(int64(len(lines))); err != nil {
		return err
	}
	file, err := os.OpenFile(d.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(lines)
	return errors.Join(err, file.Close())
}

// turn begins a new file when the one there would become too long.
func (d *deadLetters) turn(more int64) error {
	info, err := os.Stat(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(filepath.Dir(d.path), 0o700)
	}
	if err != nil {
		return err
	}
	if info.Size() > 0 && info.Size()+more > d.size/2 {
		return os.Rename(d.path, d.path+".1")
	}
	return nil
}
