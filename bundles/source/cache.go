package source

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/strict"
)

// A Cache keeps what was fetched in files named by the SHA-256 of their content, so that a changed file is no file of
// the cache, and remembers which URL gave what. What comes out of it is verified like anything else. Several
// processes may share one.
type Cache struct{ dir string }

// NewCache returns the cache in a folder, which it makes.
func NewCache(dir string) (*Cache, error) {
	for _, sub := range []string{"sha256", "url"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("the cache of bundles: %w", err)
		}
	}
	return &Cache{dir: dir}, nil
}

// remembered is what a URL gave last.
type remembered struct {
	URL          string `json:"url"`
	SHA256       string `json:"sha256"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func checkDigest(data []byte, want string) error {
	if got := digest(data); want != "" && got != want {
		return refusal.New(refusal.SourceDigest, "the archive is %s, wanted is %s", got, want)
	}
	return nil
}

// get returns content by its digest; false when it is not there, or is not what its name says.
func (c *Cache) get(sha256 string, limit int64) ([]byte, bool) {
	if c == nil || !manifest.IsSHA256(sha256) {
		return nil, false
	}
	file, err := os.Open(filepath.Join(c.dir, "sha256", sha256))
	if err != nil {
		return nil, false
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	return data, err == nil && int64(len(data)) <= limit && digest(data) == sha256
}

// recall returns what a URL gave last, and its content; false when either is gone.
func (c *Cache) recall(url string, limit int64) (remembered, []byte, bool) {
	if c == nil {
		return remembered{}, nil, false
	}
	file, err := os.Open(c.urlFile(url))
	if err != nil {
		return remembered{}, nil, false
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 16<<10))
	var r remembered
	if err != nil || strict.Decode(text, &r) != nil || r.URL != url {
		return remembered{}, nil, false
	}
	data, ok := c.get(r.SHA256, limit)
	return r, data, ok
}

// Content returns content by its digest, for sources of other packages; false when it is not there. A nil Cache is empty.
func (c *Cache) Content(sha256 string, limit int64) ([]byte, bool) { return c.get(sha256, limit) }

// Last returns what an address gave last.
func (c *Cache) Last(address string, limit int64) ([]byte, bool) {
	_, data, ok := c.recall(address, limit)
	return data, ok
}

// Keep keeps what an address gave. A nil Cache keeps nothing.
func (c *Cache) Keep(address string, data []byte) error { return c.put(remembered{URL: address}, data) }

func (c *Cache) urlFile(url string) string {
	return filepath.Join(c.dir, "url", digest([]byte(url))+".json")
}

// put keeps content, and that r.URL gave it. Each file is written whole or not at all.
func (c *Cache) put(r remembered, data []byte) error {
	if c == nil {
		return nil
	}
	r.SHA256 = digest(data)
	text, err := strict.Encode(r)
	if err != nil {
		return err
	}
	if _, there := c.get(r.SHA256, int64(len(data))); !there {
		if err := replaceFile(filepath.Join(c.dir, "sha256", r.SHA256), data); err != nil {
			return err
		}
	}
	return replaceFile(c.urlFile(r.URL), text)
}

func replaceFile(path string, data []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return fmt.Errorf("the cache of bundles: %w", err)
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("the cache of bundles: %w", errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}

// Prune removes all content but that with these digests, and what an interrupted write left.
func (c *Cache) Prune(keep []string) error {
	entries, err := os.ReadDir(filepath.Join(c.dir, "sha256"))
	if err != nil {
		return fmt.Errorf("the cache of bundles: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if slices.Contains(keep, e.Name()) && !strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := os.Remove(filepath.Join(c.dir, "sha256", e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
