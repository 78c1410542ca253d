package registry

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content/oci"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

// openLayout opens an OCI image layout: a folder, or a tar file of one. Who carries it here may have made it, and it is read
// into memory: its files are bounded before.
func openLayout(ctx context.Context, path string, limit int64) (*oci.ReadOnlyStore, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, refusal.New(refusal.SourceMissing, "the layout: %w", err)
	}
	var layout *oci.ReadOnlyStore
	if info.IsDir() {
		layout, err = oci.NewFromFS(ctx, bounded{os.DirFS(path), limit})
	} else if err = checkTar(path, limit); err == nil {
		layout, err = oci.NewFromTar(ctx, path)
	}
	if r, ok := errors.AsType[*refusal.Error](err); ok {
		return nil, r
	}
	if err != nil {
		return nil, refusal.New(refusal.SourceManifest, "%s is no OCI image layout: %w", path, err)
	}
	return layout, nil
}

// bounded is a layout's folder of which no file is larger than limit.
type bounded struct {
	fs.FS
	limit int64
}

// Open is fs.FS's.
func (b bounded) Open(name string) (fs.File, error) {
	file, err := b.FS.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil {
		err = checkFile(name, info, b.limit)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func checkFile(name string, info fs.FileInfo, limit int64) error {
	if name == ocispec.ImageIndexFile {
		limit = maxManifest
	}
	switch {
	case info.IsDir():
		return nil
	case !info.Mode().IsRegular():
		return refusal.New(refusal.SourceKind, "%s of the layout is not a regular file", name)
	case info.Size() > limit:
		return refusal.New(refusal.LimitArchive, "%s of the layout has %d bytes, at most %d", name, info.Size(), limit)
	}
	return nil
}

// checkTar looks at what a tar file says of its files.
func checkTar(path string, limit int64) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for entries := tar.NewReader(file); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := checkFile(header.Name, header.FileInfo(), limit); err != nil {
			return err
		}
	}
}
