package authn

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Bounds of a user's name and password, in bytes. bcrypt looks at the first 72 of a password.
const (
	maxUser     = 1 << 10
	maxPassword = 1 << 10
)

var errBasic = errors.New("credentials are not those of the Basic scheme (RFC 7617 §2)")

// basic is a user name and password.
type basic struct {
	credential Credential
	user, pass *regexp.Regexp // of the body; nil: not there
	challenge  string
	passwords  *checker
	org        string
	keys       Keys
}

func newBasic(c *config.BasicAuth, api Facts, keys Keys) (*basic, error) {
	cache := c.CacheFor
	if c.NoCache {
		cache = 0
	} else if cache == 0 {
		cache = config.DefaultBasicCache
	}
	b := &basic{
		credential: NewCredential(c.Credential), challenge: `Basic realm="` + quotable(api.Name) + `"`,
		passwords: newChecker(api.Memory, api.ID, cache), org: api.Org, keys: keys,
	}
	if c.BodyUser == "" {
		return b, nil
	}
	var err error
	if b.user, err = group(c.BodyUser); err != nil {
		return nil, fmt.Errorf("body_user: %w", err)
	}
	if b.pass, err = group(c.BodyPassword); err != nil {
		return nil, fmt.Errorf("body_password: %w", err)
	}
	return b, nil
}

// group compiles an expression with a group.
func group(expression string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(expression)
	if err != nil {
		return nil, fmt.Errorf("no regular expression (RE2): %w", err)
	}
	if re.NumSubexp() == 0 {
		return nil, fmt.Errorf("%q needs a group around what is to be taken", expression)
	}
	return re, nil
}

// quotable makes a name fit for a quoted string in a header (RFC 9110 §5.6.4).
func quotable(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, name)
}

// needsBody is NeedsBody's.
func (b *basic) needsBody() bool { return b.user != nil }

// Authenticate is Authenticator's.
func (b *basic) Authenticate(ctx context.Context, x *sdk.Exchange) (*identity.Caller, error) {
	user, password, err := b.credentials(x)
	if errors.Is(err, errBody) {
		return nil, err
	}
	if err != nil {
		return nil, b.refuse(textMissing, err)
	}
	caller, err := b.find(ctx, user)
	if err != nil {
		return nil, err
	}
	refused, err := b.passwords.check(ctx, caller, password)
	if err != nil {
		return nil, err
	}
	if refused != nil {
		return nil, b.refuse(textUser, refused)
	}
	return caller, nil
}

// refuse asks for credentials (RFC 9110 §11.6.1).
func (b *basic) refuse(text string, why error) *sdk.Error {
	e := refuse(401, text, why)
	e.Header = []sdk.Field{{Name: "WWW-Authenticate", Value: b.challenge}}
	return e
}

// find returns the user's key: the one of that name, else the one with the name as its token, as old stores have it.
// It returns nil when there is none.
func (b *basic) find(ctx context.Context, user string) (*identity.Caller, error) {
	caller, err := b.keys.Lookup(ctx, b.org, b.keys.Token(b.org, user))
	if err != nil && unknown(err) {
		caller, err = b.keys.Lookup(ctx, b.org, user)
	}
	if err != nil && unknown(err) {
		return nil, nil
	}
	return caller, err
}

// credentials takes name and password out of the header, else out of the body.
func (b *basic) credentials(x *sdk.Exchange) (user, password string, err error) {
	found, err := b.credential.Find(x)
	switch {
	case err == nil:
		return parseBasic(found)
	case !IsMissing(err) || b.user == nil:
		return "", "", err
	}
	r := x.Request()
	if !buffered(r) {
		return "", "", errBody
	}
	u, p := b.user.FindSubmatch(r.Body()), b.pass.FindSubmatch(r.Body())
	if len(u) < 2 || len(p) < 2 || len(u[1]) > maxUser || len(p[1]) > maxPassword {
		return "", "", errMissing
	}
	user, password = string(u[1]), string(p[1])
	if !plausible(user, password) {
		return "", "", errBasic
	}
	return user, password, nil
}

// parseBasic reads the credentials of the Basic scheme (RFC 7617 §2). Another scheme is errMissing.
func parseBasic(s string) (user, password string, err error) {
	encoded, ok := scheme(s, "Basic")
	if !ok {
		return "", "", errMissing
	}
	if len(encoded) > base64.StdEncoding.EncodedLen(maxUser+1+maxPassword) {
		return "", "", errTooLong
	}
	decoded, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		return "", "", errBasic // base64's own error quotes nothing, but tells where
	}
	user, password, ok = strings.Cut(string(decoded), ":")
	switch {
	case !ok || !plausible(user, password):
		return "", "", errBasic
	case len(user) > maxUser || len(password) > maxPassword:
		return "", "", errTooLong
	}
	return user, password, nil
}

// plausible reports whether there is a name, and no control character in name or password.
func plausible(user, password string) bool {
	return user != "" && strings.IndexFunc(user+password, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}
