package authn

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"regexp"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/authn/xmlpath"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// maxIndex bounds which match of a regular expression is taken.
const maxIndex = 1 << 10

var (
	errNoMatch  = errors.New("the id extractor's expression matches nothing")
	errSameForm = errors.New("the id extractor's field is given more than once, with different values")
)

// Extractor takes the id of a session out of a request, for an auth hook whose session of an earlier call may still be
// good (reference §2.6). It is immutable and safe for concurrent use.
type Extractor struct {
	from   config.ExtractFrom
	name   string
	regex  *regexp.Regexp
	index  int
	reader func(text string) (string, error)
}

// CompileExtractor refuses what extracts nothing or the same of everyone, which would give all callers one session. No
// extractor is nil.
func CompileExtractor(e config.IDExtractor) (*Extractor, error) {
	if e.From == "" && e.With == "" {
		return nil, nil
	}
	x := &Extractor{from: e.From, name: e.Name, index: e.Index}
	switch e.From {
	case config.ExtractHeader, config.ExtractQuery, config.ExtractForm:
		if e.Name == "" {
			return nil, fmt.Errorf("id_extractor.name: the name of the %s is required", e.From)
		}
	case config.ExtractBody:
		if e.With == config.ExtractValue {
			return nil, errors.New("id_extractor.with: a whole body is no id: use regex or xpath")
		}
	default:
		return nil, fmt.Errorf("id_extractor.from: %q must be one of header, query, form, body", e.From)
	}
	switch e.With {
	case config.ExtractValue:
		x.reader = func(text string) (string, error) { return text, nil }
		return x, nil
	case config.ExtractRegex:
		return x, x.compileRegex(e)
	case config.ExtractXPath:
		q, err := xmlpath.Compile(e.Expression)
		if err != nil {
			return nil, fmt.Errorf("id_extractor.expression: %w", err)
		}
		x.reader = q.Text
		return x, nil
	}
	return nil, fmt.Errorf("id_extractor.with: %q must be one of value, regex, xpath", e.With)
}

func (e *Extractor) compileRegex(c config.IDExtractor) (err error) {
	if c.Expression == "" || c.Index < 0 || c.Index > maxIndex {
		return fmt.Errorf("id_extractor: regex needs an expression, and an index of 0 to %d", maxIndex)
	}
	if e.regex, err = regexp.Compile(c.Expression); err != nil {
		return fmt.Errorf("id_extractor.expression: %w", err)
	}
	if prefix, whole := e.regex.LiteralPrefix(); whole {
		return fmt.Errorf("id_extractor.expression: %q is a constant, and no id", prefix)
	}
	e.reader = e.match
	return nil
}

// NeedsBody reports whether ID reads the body, which the host then buffers before. It is safe on nil.
func (e *Extractor) NeedsBody() bool {
	return e != nil && (e.from == config.ExtractBody || e.from == config.ExtractForm)
}

// ID returns the MD5 of what was extracted, in lower-case hex: the name of the key that the session is stored under
// (see identity.Keys.Token). A request out of which nothing is to be extracted is refused; another error is a body that
// the host did not buffer.
func (e *Extractor) ID(x *sdk.Exchange) (string, error) {
	text, err := e.source(x.Request())
	if err == nil {
		text, err = e.reader(text)
	}
	switch {
	case errors.Is(err, errBody):
		return "", err
	case err != nil:
		return "", refuse(400, textMissing, err)
	case text == "":
		return "", refuse(400, textMissing, errNoMatch)
	}
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:]), nil
}

// source returns the text that the id is taken out of.
func (e *Extractor) source(r *sdk.Request) (string, error) {
	var f finding
	switch e.from {
	case config.ExtractHeader:
		f.header(r.Header(), e.name)
		return f.result()
	case config.ExtractQuery:
		f.query(r.Query(), e.name)
		return f.result()
	}
	if !buffered(r) {
		return "", errBody
	}
	if e.from == config.ExtractBody {
		if len(r.Body()) == 0 {
			return "", errMissing
		}
		return string(r.Body()), nil
	}
	// As in Tyk, the fields of a form are those of its body and those of the query.
	if isForm(r.Header().Get("Content-Type")) {
		var form sdk.Query
		form.SetRaw(string(r.Body()))
		f.query(&form, e.name)
	}
	f.query(r.Query(), e.name)
	if errors.Is(f.err, errAmbiguous) {
		f.err = errSameForm
	}
	return f.result()
}

func (f *finding) query(q *sdk.Query, name string) {
	for n, value := range q.All() {
		if n == name {
			f.take(value)
		}
	}
}

// isForm reports whether a body of that type is a form's (application/x-www-form-urlencoded).
func isForm(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter)) && strings.EqualFold(kind, "application/x-www-form-urlencoded")
}

// match returns the whole of the match that the index chooses. RE2 takes time linear in the text.
func (e *Extractor) match(text string) (string, error) {
	found := e.regex.FindAllStringIndex(text, e.index+1)
	if len(found) <= e.index {
		return "", errNoMatch
	}
	at := found[e.index]
	return text[at[0]:at[1]], nil
}
