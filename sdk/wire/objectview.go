package wire

import (
	"fmt"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// pair is an entry of a map of strings; it aliases the message.
type pair struct{ key, value []byte }

// objectView is a coprocess.Object found well-formed. It aliases the message, except for the session.
type objectView struct {
	hookType uint64
	hookName []byte
	request  requestView
	session  *sdk.Session
	metadata []pair
	spec     []pair
	response objectResponse
}

// requestView is a MiniRequestObject.
type requestView struct {
	part
	headers, setHeaders    []pair
	deleteHeaders          [][]byte
	body, url, method, uri []byte
	scheme, rawBody        []byte
	addParams              []pair
	deleteParams           [][]byte
	echo                   bool

	overrides                   part
	responseCode                int32
	responseError, responseBody []byte
	overrideHeaders             []pair
	overrideError               bool
}

// objectResponse is a ResponseObject.
type objectResponse struct {
	part
	status        int32
	rawBody, body []byte
	headers       []pair
	multi         []group
	echo          bool
}

// scanner says what of an Object is to be kept beside what every reader needs, and counts entries over the whole
// message, so that the bound holds for all lists together.
type scanner struct {
	call     bool // what only a called server reads: headers, spec
	identity bool // session and metadata
	entries  int
}

func (s *scanner) count() error {
	if s.entries++; s.entries > MaxItems {
		return errTooMany
	}
	return nil
}

// pair checks an entry and keeps it if that is wanted.
func (s *scanner) pair(list *[]pair, b []byte, keep bool) error {
	k, v, err := entry(b)
	if err == nil {
		err = s.count()
	}
	if keep {
		*list = append(*list, pair{k, v})
	}
	return err
}

func (s *scanner) item(list *[][]byte, b []byte) error {
	*list = append(*list, b)
	return s.count()
}

func (v *objectView) scan(b []byte, s scanner) error {
	var session part
	c := cursor{msg: b}
	for c.next() {
		var err error
		switch c.key {
		case 1<<3 | varint:
			v.hookType = c.num
		case 2<<3 | length:
			v.hookName = c.val()
		case 3<<3 | length:
			v.request.merge(c.val())
		case 4<<3 | length:
			session.merge(c.val())
		case 5<<3 | length:
			err = s.pair(&v.metadata, c.val(), s.identity)
		case 6<<3 | length:
			err = s.pair(&v.spec, c.val(), s.call)
		case 7<<3 | length:
			v.response.merge(c.val())
		}
		if err != nil {
			return err
		}
	}
	if c.err != nil {
		return c.err
	}
	if session.set {
		var err error
		if s.identity {
			v.session, err = decodeSession(session.b)
		} else {
			err = wellFormed(session.b)
		}
		if err != nil {
			return fmt.Errorf("session: %w", err)
		}
	}
	if err := v.request.scan(&s); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if err := v.response.scan(&s); err != nil {
		return fmt.Errorf("response: %w", err)
	}
	return nil
}

func (r *requestView) scan(s *scanner) error {
	c := cursor{msg: r.b}
	for c.next() {
		if r.scalar(&c) {
			continue
		}
		var err error
		switch c.key {
		case 1<<3 | length:
			err = s.pair(&r.headers, c.val(), s.call)
		case 2<<3 | length:
			err = s.pair(&r.setHeaders, c.val(), true)
		case 3<<3 | length:
			err = s.item(&r.deleteHeaders, c.val())
		case 7<<3 | length:
			err = s.pair(&r.addParams, c.val(), true)
		case 9<<3 | length:
			err = s.item(&r.deleteParams, c.val())
		case 6<<3 | length, 8<<3 | length: // params and extended_params: checked, not used
			err = s.pair(nil, c.val(), false)
		case 10<<3 | length:
			r.overrides.merge(c.val())
		}
		if err != nil {
			return err
		}
	}
	if len(r.setHeaders) > MaxChanges || len(r.deleteHeaders) > MaxChanges {
		return errTooMany
	}
	if c.err != nil {
		return c.err
	}
	return r.scanOverrides(s)
}

func (r *requestView) scalar(c *cursor) bool {
	switch c.key {
	case 4<<3 | length:
		r.body = c.val()
	case 5<<3 | length:
		r.url = c.val()
	case 11<<3 | length:
		r.method = c.val()
	case 12<<3 | length:
		r.uri = c.val()
	case 13<<3 | length:
		r.scheme = c.val()
	case 14<<3 | length:
		r.rawBody = c.val()
	case 100<<3 | varint:
		r.echo = c.num != 0
	default:
		return false
	}
	return true
}

func (r *requestView) scanOverrides(s *scanner) error {
	c := cursor{msg: r.overrides.b}
	for c.next() {
		switch c.key {
		case 1<<3 | varint:
			r.responseCode = int32(c.num)
		case 2<<3 | length:
			r.responseError = c.val()
		case 3<<3 | length:
			if err := s.pair(&r.overrideHeaders, c.val(), true); err != nil {
				return err
			}
		case 4<<3 | varint:
			r.overrideError = c.num != 0
		case 5<<3 | length:
			r.responseBody = c.val()
		}
	}
	return c.err
}

func (r *objectResponse) scan(s *scanner) error {
	c := cursor{msg: r.b}
	for c.next() {
		var err error
		switch c.key {
		case 1<<3 | varint:
			r.status = int32(c.num)
		case 2<<3 | length:
			r.rawBody = c.val()
		case 3<<3 | length:
			r.body = c.val()
		case 4<<3 | length:
			err = s.pair(&r.headers, c.val(), true)
		case 5<<3 | length:
			err = r.multiValue(s, c.val())
		case 100<<3 | varint:
			r.echo = c.num != 0
		}
		if err != nil {
			return err
		}
	}
	return c.err
}

func (r *objectResponse) multiValue(s *scanner, b []byte) error {
	var g group
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | length:
			g.name = string(c.val())
		case 2<<3 | length:
			g.values = append(g.values, string(c.val()))
			if err := s.count(); err != nil {
				return err
			}
		}
	}
	r.multi = append(r.multi, g)
	if c.err == nil {
		c.err = s.count()
	}
	return c.err
}
