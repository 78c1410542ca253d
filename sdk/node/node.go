// Package node carries the Node SDK, so that a program can hand it to whoever writes a plugin, without a registry.
package node

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io/fs"
	"time"
)

// Files are those of the npm package.
//
//go:embed package.json README.md lib
var Files embed.FS

// Tarball returns the npm package as npm pack makes it: a gzipped tar archive with everything below package/. The same files
// give the same bytes.
func Tarball() ([]byte, error) {
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	archive := tar.NewWriter(zip)
	err = fs.WalkDir(Files, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := Files.ReadFile(name)
		if err != nil {
			return err
		}
		// npm's own date for files that are to be reproducible.
		h := &tar.Header{Name: "package/" + name, Mode: 0o644, Size: int64(len(data)), ModTime: time.Date(1985, 10, 26, 8, 15, 0, 0, time.UTC), Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(h); err != nil {
			return err
		}
		_, err = archive.Write(data)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pack the Node SDK: %w", err)
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
