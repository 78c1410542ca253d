package httpsig

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

var errDigest = errors.New("the digest is not the body's")

// IsDigest reports whether a header of that name, in lower case, is a digest of the body.
func IsDigest(name string) bool { return name == "digest" || name == "content-digest" }

// VerifyDigests verifies the digests of the body that were signed, of a request whose body has been buffered: Digest (RFC 3230 §4.3.2: SHA-256=base64) and
// Content-Digest (RFC 9530 §2: sha-256=:base64:). Each has at least one by SHA-256 or SHA-512, and all such are right.
func VerifyDigests(r *sdk.Request, signed []string) error {
	for _, name := range signed {
		if !IsDigest(name) {
			continue
		}
		right := 0
		for _, value := range r.Header().Values(name) {
			n, ok := verifyDigest(value, r.Body())
			if !ok {
				return errDigest
			}
			right += n
		}
		if right == 0 {
			return errDigest
		}
	}
	return nil
}

// verifyDigest returns how many digests a value has that are understood; false when one is wrong.
func verifyDigest(value string, body []byte) (right int, ok bool) {
	for part := range strings.SplitSeq(value, ",") {
		algorithm, encoded, _ := strings.Cut(trim(part), "=")
		var want []byte
		switch strings.ToLower(algorithm) {
		case "sha-256":
			sum := sha256.Sum256(body)
			want = sum[:]
		case "sha-512":
			sum := sha512.Sum512(body)
			want = sum[:]
		default:
			continue
		}
		if len(encoded) > 1 && encoded[0] == ':' && encoded[len(encoded)-1] == ':' {
			encoded = encoded[1 : len(encoded)-1]
		}
		got, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || subtle.ConstantTimeCompare(got, slices.Clip(want)) == 0 || right > 8 {
			return right, false
		}
		right++
	}
	return right, true
}
