package rules

import "strings"

// TrimListenPath removes the listen path from a request's path, both with their slashes as config.Listen promises:
// listen begins with "/" and ends in none unless it is "/". The rest is the path's own bytes, escapes and doubled
// slashes included, and is empty or begins with "/"; where listen ended inside a segment (prefix matching) a slash is
// put before it. A lone slash is left out unless keepSlash. The path may spell the listen path with escapes; one that
// does not begin with it is returned as it is.
//
// A target's own path goes before the rest as it is, one slash between them: with base "/b" the rests "", "/" and "//x"
// give "/b", "/b/" and "/b//x".
func TrimListenPath(path, listen string, keepSlash bool) string {
	rest := path
	if listen != "/" {
		rest = trimSpelled(path, listen)
	}
	switch {
	case rest == "/" && !keepSlash:
		return ""
	case rest != "" && rest[0] != '/':
		return "/" + rest
	}
	return rest
}

// trimSpelled removes prefix from path, comparing byte by byte and an escape with what it stands for.
func trimSpelled(path, prefix string) string {
	if rest, ok := strings.CutPrefix(path, prefix); ok {
		return rest
	}
	i := 0
	for j := 0; j < len(prefix); j++ {
		if i >= len(path) {
			return path
		}
		c, escaped := escape(path, i)
		switch {
		case path[i] == prefix[j]:
			i++
		case escaped && c == prefix[j]:
			i += len("%2F")
		default:
			return path
		}
	}
	return path[i:]
}

// Clean resolves "." and ".." segments (RFC 3986 §5.2.4, also where the dots are escaped), never above the root, and
// joins doubled slashes. Other escapes stay as they came, and so does a slash at the end.
func Clean(path string) string {
	clean, _ := resolve(path, tidying{escapes: true})
	return clean
}
