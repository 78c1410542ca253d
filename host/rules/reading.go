package rules

// Readings calls f with the ways in which servers may read a path (see the package comment), its escapes as they came,
// decoded. It reports whether the path is hostile: one that nobody means, of which there is no telling what it is taken for.
func Readings(path string, f func(reading string)) (hostile bool) {
	path = rooted(path)
	if plain(path) {
		f(path)
		return false
	}
	r := read(path)
	for _, form := range r.forms {
		f(form)
	}
	return r.hostile
}

// EveryReading reports whether allowed is true of all readings of a path that is not hostile.
func EveryReading(path string, allowed func(reading string) bool) bool {
	all := true
	hostile := Readings(path, func(reading string) { all = all && allowed(reading) })
	return all && !hostile
}
