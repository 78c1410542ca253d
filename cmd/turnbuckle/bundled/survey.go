package bundled

import (
	"context"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
)

// Files lists the archives below a folder of bundles by the names that definitions may give them, sorted. What could not
// be named is left out, and so are folders whose names begin with a dot.
func Files(folder string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return refusal.New(refusal.SourceMissing, "the folder of bundles: %w", err)
		}
		if entry.IsDir() {
			if path != folder && strings.HasPrefix(entry.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		if name = filepath.ToSlash(name); strings.HasSuffix(name, ".zip") && manifest.CheckName(name) == nil {
			names = append(names, name)
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}

// Survey decides about every archive below a folder, under the names of its files, and changes nothing.
func Survey(ctx context.Context, folder string, v *bundles.Verifier) ([]Decision, error) {
	names, err := Files(folder)
	if err != nil {
		return nil, err
	}
	from := source.NewFolder(folder, source.Limits{Archive: v.Limits.Archive, Adoption: v.Limits.Envelope})
	all := make([]Decision, 0, len(names))
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		got, err := from.Fetch(ctx, name, "")
		var b *bundles.Bundle
		if err == nil {
			b, err = verifyFile(v, name, got)
		}
		all = append(all, Decide(name, got.Origin, b, err))
	}
	return all, nil
}

// verifyFile judges an archive under its file's name, and under the one without .zip, which definitions may use as well: what
// may be unsigned is allowed under one of them.
func verifyFile(v *bundles.Verifier, name string, got source.Fetched) (*bundles.Bundle, error) {
	request := bundles.Request{Name: name, Archive: got.Archive, Adoption: got.Adoption}
	b, err := v.Verify(request)
	if code := refusal.CodeOf(err); code == refusal.Unsigned || code == refusal.KeyUnknown || code == refusal.NoRule {
		request.Name = strings.TrimSuffix(name, ".zip")
		if other, err := v.Verify(request); err == nil {
			return other, nil
		}
	}
	return b, err
}
