package authn

import (
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// maxMasherySkew bounds the hashes a request costs: the signature does not say its time, so each second is tried.
const maxMasherySkew = 10 * time.Minute

const metaPrefix = "$tyk_meta."

var errSignature = errors.New("signature of the token is wrong or out of date")

// mashery verifies signatures of a token as Mashery's clients make them: the hex hash of token, secret and the time in
// unix seconds, one behind the other.
type mashery struct {
	credential Credential
	sha        bool
	secret     string
	meta       string // name in the session's metadata of the key's own secret; instead of secret
	skew       int64  // seconds
	status     int
	text       string
}

func newMashery(c *config.SignatureAuth) (*mashery, error) {
	m := &mashery{
		credential: Credential{header: c.Header, param: c.Param},
		sha:        c.Algorithm == "MasherySHA256", secret: c.Secret, skew: int64(c.Skew / time.Second),
		status: cmp.Or(c.Status, 401), text: cmp.Or(c.Message, "Request signature verification failed"),
	}
	switch {
	case c.Algorithm == "":
		return nil, nil
	case !m.sha && c.Algorithm != "MasheryMD5":
		return nil, fmt.Errorf("signature.algorithm %q must be MasherySHA256 or MasheryMD5", c.Algorithm)
	case c.Secret == "":
		return nil, errors.New("signature.secret is required")
	case m.credential == Credential{}:
		return nil, errors.New("signature: name a header or query parameter")
	case c.Skew > maxMasherySkew:
		return nil, fmt.Errorf("signature.skew %v is more than %v: every second of it is tried", c.Skew, maxMasherySkew)
	}
	if name, ok := strings.CutPrefix(c.Secret, metaPrefix); ok {
		m.meta, m.secret = name, ""
	} else if strings.Contains(c.Secret, metaPrefix) {
		return nil, fmt.Errorf("signature.secret is either %sNAME, or a secret", metaPrefix)
	}
	return m, nil
}

// verify returns a refusal, the same for every cause. caller is nil when the token is not known.
func (m *mashery) verify(x *sdk.Exchange, token string, caller *identity.Caller) *sdk.Error {
	given, err := m.credential.Find(x)
	if err != nil {
		return refuse(m.status, m.text, err)
	}
	var want [sha256.Size]byte
	size := m.sum([]byte(nil), &want) // of nothing, for the size
	if hex.DecodedLen(len(given)) != size || len(given)%2 != 0 {
		return refuse(m.status, m.text, errSignature)
	}
	got, err := hex.DecodeString(given)
	if err != nil {
		return refuse(m.status, m.text, errSignature)
	}
	secret := m.secret
	if m.meta != "" && caller != nil {
		secret = caller.View.Metadata[m.meta]
	}
	text := append(append(make([]byte, 0, len(token)+len(secret)+20), token...), secret...)
	now, right := time.Now().Unix(), 0
	for at := now - m.skew; at <= now+m.skew; at++ {
		m.sum(strconv.AppendInt(text, at, 10), &want)
		right |= subtle.ConstantTimeCompare(want[:size], got)
	}
	if right == 0 || secret == "" {
		return refuse(m.status, m.text, errSignature)
	}
	return nil
}

// sum writes the hash of b and returns its size.
func (m *mashery) sum(b []byte, to *[sha256.Size]byte) int {
	if m.sha {
		*to = sha256.Sum256(b)
		return sha256.Size
	}
	sum := md5.Sum(b)
	return copy(to[:], sum[:])
}
