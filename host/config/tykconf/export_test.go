package tykconf

import "slices"

// Working are the paths of Tyk's settings that have a meaning here, sorted.
func Working() []string {
	var paths []string
	for path, f := range table() {
		if f.status == works {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}
