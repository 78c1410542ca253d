// Package console is what the commands for bundles share: how they print, ask for passphrases, read keys and times, and
// write files.
package console

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
)

// ErrSaid ends a command with exit code 1 after it has said what is wrong itself.
var ErrSaid = errors.New("refused")

// passphraseVariable holds the passphrase of secret keys.
const passphraseVariable = "TURNBUCKLE_KEY_PASSPHRASE"

// Env is the world the commands run in. All of it is required.
type Env struct {
	Environ        []string // in the form of os.Environ
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Version        string // the gateway's
	Now            func() time.Time
}

// Lookup returns a variable of the environment, "" when it is not set.
func (e Env) Lookup(name string) string {
	for _, pair := range slices.Backward(e.Environ) {
		if k, v, _ := strings.Cut(pair, "="); k == name {
			return v
		}
	}
	return ""
}

// JSON writes a value.
func (e Env) JSON(v any) error {
	encoder := json.NewEncoder(e.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// Say writes a line to standard output.
func (e Env) Say(format string, args ...any) { fmt.Fprintf(e.Stdout, format+"\n", args...) }

// Note writes a line to standard error.
func (e Env) Note(format string, args ...any) {
	fmt.Fprintf(e.Stderr, "turnbuckle: note: "+format+"\n", args...)
}

// Table writes rows under a header. Cells that are empty are dashes, and what could command a terminal is escaped.
func (e Env) Table(header []string, rows [][]string) error {
	w := tabwriter.NewWriter(e.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(header, "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cells[i] = Printable(cell); cell == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// Printable is text with what is not graphic escaped.
func Printable(text string) string {
	if strings.IndexFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) }) < 0 {
		return text
	}
	quoted := strconv.QuoteToGraphic(text)
	return quoted[1 : len(quoted)-1]
}

// Short is the beginning of a digest, for people.
func Short(digest string) string { return digest[:min(len(digest), 12)] }

// Shorts are the beginnings of digests.
func Shorts(digests []string) string {
	all := make([]string, len(digests))
	for i, d := range digests {
		all[i] = Short(d)
	}
	return strings.Join(all, ",")
}

// Progress returns what tells on a terminal how far something is, every 100 ms; nil where standard error is none.
func (e Env) Progress(what string) func(done, total int64) {
	if !isTerminal(e.Stderr) {
		return nil
	}
	var last time.Time
	return func(done, total int64) {
		if done < total && time.Since(last) < 100*time.Millisecond {
			return
		}
		last = time.Now()
		end := "\r"
		if done >= total {
			end = "\n"
		}
		fmt.Fprintf(e.Stderr, "%s: %d%% of %d KiB%s", what, done*100/max(total, 1), (total+1023)/1024, end)
	}
}

func isTerminal(w any) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// NewPassphrase returns the passphrase for a new key: of the file, of the environment, or asked for twice on a terminal.
// Empty is none.
func (e Env) NewPassphrase(file string) ([]byte, error) {
	if phrase, ok, err := e.given(file); ok || err != nil {
		return phrase, err
	}
	if !isTerminal(e.Stdin) {
		return nil, nil
	}
	phrase, err := e.ask("Passphrase for the secret key (empty for none): ")
	if err != nil || len(phrase) == 0 {
		return nil, err
	}
	again, err := e.ask("The same again: ")
	if err == nil && !bytes.Equal(phrase, again) {
		err = refusal.New(refusal.KeyPassphrase, "the two are not the same")
	}
	return phrase, err
}

// SecretKeys reads files of secret keys, asking for passphrases where they are needed and not given.
func (e Env) SecretKeys(files []string, passphraseFile string) ([]sign.SecretKey, error) {
	var keys []sign.SecretKey
	for _, file := range files {
		key, err := sign.ReadSecretKey(file, func() ([]byte, error) {
			if phrase, ok, err := e.given(passphraseFile); ok || err != nil {
				return phrase, err
			}
			if !isTerminal(e.Stdin) {
				return nil, refusal.New(refusal.KeyPassphrase, "%s needs a passphrase: $%s or --passphrase-file has it", file, passphraseVariable)
			}
			return e.ask("Passphrase for " + file + ": ")
		})
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// given is a passphrase that needs not be asked for.
func (e Env) given(file string) (phrase []byte, ok bool, err error) {
	if file == "" {
		phrase := e.Lookup(passphraseVariable)
		return []byte(phrase), phrase != "", nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, false, refusal.New(refusal.KeyPassphrase, "%w", err)
	}
	if phrase = bytes.TrimRight(data, "\r\n"); len(phrase) == 0 {
		return nil, false, refusal.New(refusal.KeyPassphrase, "%s is empty", file)
	}
	return phrase, true, nil
}

func (e Env) ask(prompt string) ([]byte, error) {
	fmt.Fprint(e.Stderr, prompt)
	defer fmt.Fprintln(e.Stderr)
	return term.ReadPassword(int(e.Stdin.(*os.File).Fd()))
}

// Time reads a time: like 2026-01-02T15:04:05Z, a day like 2026-01-02, or so long from now, like 720h.
func (e Env) Time(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return e.Now().Add(d), nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: write 2026-01-02T15:04:05Z, 2026-01-02, or so long from now, like 720h", text)
}

// WriteFile writes a file whole or not at all. Unless replace is set it must not be there yet.
func WriteFile(path string, data []byte, replace bool) error {
	at := path
	if replace {
		random := make([]byte, 8)
		if _, err := rand.Read(random); err != nil {
			return err
		}
		// Not os.CreateTemp: the file is for others to read, as the umask allows.
		at = filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"-"+hex.EncodeToString(random))
	}
	file, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists and is not overwritten", path)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil && replace {
		err = os.Rename(at, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(at))
	}
	return nil
}

// Advised splits the advice off a refusal's text, and names its code behind it: what an error line and a hint line say.
func Advised(err error) (text, advice string) {
	r, ok := errors.AsType[*refusal.Error](err)
	if !ok {
		return err.Error(), ""
	}
	advice = r.Code.Advice()
	return strings.Replace(err.Error(), ": "+advice+" (", " (", 1), advice
}
