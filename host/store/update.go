package store

import "bytes"

// Changed calls the change of an Update and says what to write, if anything. It is a part that stores are made of. A nil
// Value in old stands for no entry.
func Changed(key string, old Entry, change func(*Entry) (*Entry, error)) (w Write, changed bool, err error) {
	var was *Entry
	if old.Value != nil {
		given := old
		was = &given
	}
	next, err := change(was)
	switch {
	case err != nil:
		return Write{}, false, err
	case next == nil:
		return Write{Key: key, Delete: true}, old.Value != nil, nil
	case old.Value != nil && bytes.Equal(next.Value, old.Value) && next.Expires.Equal(old.Expires):
		return Write{}, false, nil
	}
	return Write{Key: key, Entry: *next}, true, Check(key, *next)
}
