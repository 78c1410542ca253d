package wire

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// appendSession appends the session as field number of a message. Both protocols have the same numbers inside.
func appendSession(b []byte, number uint64, s *sdk.Session) []byte {
	b, at := open(b, number, 200)
	if s != nil {
		b = appendSessionFields(b, s)
	}
	return shut(b, at)
}

func appendSessionFields(b []byte, s *sdk.Session) []byte {
	b = appendInt(b, 1, s.LastCheck)
	b = appendDouble(b, 2, s.Allowance)
	b = appendDouble(b, 3, s.Rate)
	b = appendDouble(b, 4, s.Per)
	b = appendInt(b, 5, s.Expires)
	b = appendInt(b, 6, s.QuotaMax)
	b = appendInt(b, 7, s.QuotaRenews)
	b = appendInt(b, 8, s.QuotaRemaining)
	b = appendInt(b, 9, s.QuotaRenewalRate)
	for id, a := range s.AccessRights {
		b = appendAccess(b, id, &a)
	}
	b = appendText(b, 11, s.OrgID)
	b = appendText(b, 12, s.OAuthClientID)
	for k, v := range s.OAuthKeys {
		b = appendEntry(b, 13, k, v)
	}
	b = appendSecrets(b, s)
	b = appendBool(b, 18, s.Inactive)
	b = appendText(b, 19, s.ApplyPolicyID)
	b = appendInt(b, 20, s.DataExpires)
	b = appendTriggers(b, s.TriggerLimits)
	b = appendBool(b, 22, s.DetailedRecording)
	for k, v := range s.Metadata {
		b = appendEntry(b, 23, k, v)
	}
	b = appendTexts(b, 24, s.Tags)
	b = appendText(b, 25, s.Alias)
	b = appendText(b, 26, s.LastUpdated)
	b = appendInt(b, 27, s.IDExtractorDeadline)
	b = appendInt(b, 28, s.Lifetime)
	b = appendTexts(b, 29, s.ApplyPolicies)
	b = appendText(b, 30, s.Certificate)
	b = appendInt(b, 31, s.MaxQueryDepth)
	b = appendText(b, 32, s.KeyID)
	b = appendText(b, 33, s.PostExpiryAction)
	return appendInt(b, 34, s.PostExpiryGrace)
}

func appendSecrets(b []byte, s *sdk.Session) []byte {
	if s.BasicAuth != nil {
		var at mark
		b, at = open(b, 14, 64)
		b = appendText(b, 1, s.BasicAuth.Password)
		b = appendText(b, 2, s.BasicAuth.Hash)
		b = shut(b, at)
	}
	if s.JWTSecret != "" {
		var at mark
		b, at = open(b, 15, 64)
		b = appendText(b, 1, s.JWTSecret)
		b = shut(b, at)
	}
	b = appendBool(b, 16, s.HMACEnabled)
	return appendText(b, 17, s.HMACSecret)
}

func appendTriggers(b []byte, limits []float64) []byte {
	if limits == nil {
		return b
	}
	b, at := open(b, 21, 0)
	if len(limits) > 0 {
		b = appendVarint(appendKey(b, 1, length), uint64(8*len(limits)))
		for _, v := range limits {
			b = protowire.AppendFixed64(b, math.Float64bits(v))
		}
	}
	return shut(b, at)
}

func appendTexts(b []byte, number uint64, list []string) []byte {
	for _, s := range list {
		b = appendBytes(b, number, valid(s))
	}
	return b
}

func appendAccess(b []byte, id string, a *sdk.AccessDefinition) []byte {
	b, at := open(b, 10, 100)
	b = appendText(b, 1, id)
	b, in := open(b, 2, 64)
	b = appendText(b, 1, a.APIName)
	b = appendText(b, 2, a.APIID)
	b = appendTexts(b, 3, a.Versions)
	for i := range a.AllowedURLs {
		var u mark
		b, u = open(b, 4, 64)
		b = appendText(b, 1, a.AllowedURLs[i].URL)
		b = appendTexts(b, 2, a.AllowedURLs[i].Methods)
		b = shut(b, u)
	}
	return shut(shut(b, in), at)
}

// decodeSession reads a session; it copies everything.
func decodeSession(b []byte) (*sdk.Session, error) {
	d := sessionDecoder{s: &sdk.Session{}, text: arena{size: len(b)}}
	c := cursor{msg: b}
	for c.next() {
		if d.entries++; d.entries > MaxItems {
			return nil, errTooMany
		}
		if d.number(&c) || d.string(&c) {
			continue
		}
		if err := d.composite(&c); err != nil {
			return nil, err
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	return d.s, d.finish()
}

type sessionDecoder struct {
	s       *sdk.Session
	text    arena
	entries int
	basic   part
	jwt     part
	monitor part
}

func (d *sessionDecoder) number(c *cursor) bool {
	s := d.s
	switch c.key {
	case 1<<3 | varint:
		s.LastCheck = int64(c.num)
	case 2<<3 | fixed64:
		s.Allowance = math.Float64frombits(c.num)
	case 3<<3 | fixed64:
		s.Rate = math.Float64frombits(c.num)
	case 4<<3 | fixed64:
		s.Per = math.Float64frombits(c.num)
	case 5<<3 | varint:
		s.Expires = int64(c.num)
	case 6<<3 | varint:
		s.QuotaMax = int64(c.num)
	case 7<<3 | varint:
		s.QuotaRenews = int64(c.num)
	case 8<<3 | varint:
		s.QuotaRemaining = int64(c.num)
	case 9<<3 | varint:
		s.QuotaRenewalRate = int64(c.num)
	case 16<<3 | varint:
		s.HMACEnabled = c.num != 0
	case 18<<3 | varint:
		s.Inactive = c.num != 0
	case 20<<3 | varint:
		s.DataExpires = int64(c.num)
	case 22<<3 | varint:
		s.DetailedRecording = c.num != 0
	case 27<<3 | varint:
		s.IDExtractorDeadline = int64(c.num)
	case 28<<3 | varint:
		s.Lifetime = int64(c.num)
	case 31<<3 | varint:
		s.MaxQueryDepth = int64(c.num)
	case 34<<3 | varint:
		s.PostExpiryGrace = int64(c.num)
	default:
		return false
	}
	return true
}

func (d *sessionDecoder) string(c *cursor) bool {
	s := d.s
	switch c.key {
	case 11<<3 | length:
		s.OrgID = d.text.str(c.val())
	case 12<<3 | length:
		s.OAuthClientID = d.text.str(c.val())
	case 17<<3 | length:
		s.HMACSecret = d.text.str(c.val())
	case 19<<3 | length:
		s.ApplyPolicyID = d.text.str(c.val())
	case 24<<3 | length:
		s.Tags = append(s.Tags, d.text.str(c.val()))
	case 25<<3 | length:
		s.Alias = d.text.str(c.val())
	case 26<<3 | length:
		s.LastUpdated = d.text.str(c.val())
	case 29<<3 | length:
		s.ApplyPolicies = append(s.ApplyPolicies, d.text.str(c.val()))
	case 30<<3 | length:
		s.Certificate = d.text.str(c.val())
	case 32<<3 | length:
		s.KeyID = d.text.str(c.val())
	case 33<<3 | length:
		s.PostExpiryAction = d.text.str(c.val())
	default:
		return false
	}
	return true
}

func (d *sessionDecoder) composite(c *cursor) error {
	switch c.key {
	case 10<<3 | length:
		return d.access(c.val())
	case 13<<3 | length:
		return d.pair(&d.s.OAuthKeys, c.val())
	case 14<<3 | length:
		d.basic.merge(c.val())
	case 15<<3 | length:
		d.jwt.merge(c.val())
	case 21<<3 | length:
		d.monitor.merge(c.val())
	case 23<<3 | length:
		return d.pair(&d.s.Metadata, c.val())
	}
	return nil
}

func (d *sessionDecoder) pair(m *map[string]string, b []byte) error {
	k, v, err := entry(b)
	if err != nil {
		return err
	}
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[d.text.str(k)] = d.text.str(v)
	return nil
}

func (d *sessionDecoder) access(b []byte) error {
	var key []byte
	var def part
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | length:
			key = c.val()
		case 2<<3 | length:
			def.merge(c.val())
		}
	}
	var a sdk.AccessDefinition
	in := cursor{msg: def.b, err: c.err}
	for in.next() {
		if d.entries++; d.entries > MaxItems {
			return errTooMany
		}
		switch in.key {
		case 1<<3 | length:
			a.APIName = d.text.str(in.val())
		case 2<<3 | length:
			a.APIID = d.text.str(in.val())
		case 3<<3 | length:
			a.Versions = append(a.Versions, d.text.str(in.val()))
		case 4<<3 | length:
			spec, err := d.accessSpec(in.val())
			if err != nil {
				return err
			}
			a.AllowedURLs = append(a.AllowedURLs, spec)
		}
	}
	if in.err != nil {
		return in.err
	}
	if d.s.AccessRights == nil {
		d.s.AccessRights = map[string]sdk.AccessDefinition{}
	}
	d.s.AccessRights[d.text.str(key)] = a
	return nil
}

func (d *sessionDecoder) accessSpec(b []byte) (spec sdk.AccessSpec, err error) {
	c := cursor{msg: b}
	for c.next() {
		if d.entries++; d.entries > MaxItems {
			return spec, errTooMany
		}
		switch c.key {
		case 1<<3 | length:
			spec.URL = d.text.str(c.val())
		case 2<<3 | length:
			spec.Methods = append(spec.Methods, d.text.str(c.val()))
		}
	}
	return spec, c.err
}

// finish reads the parts that several fields may have contributed to.
func (d *sessionDecoder) finish() error {
	if d.basic.set {
		password, hash, err := entry(d.basic.b) // the same shape as a map entry: strings 1 and 2
		if err != nil {
			return err
		}
		d.s.BasicAuth = &sdk.BasicAuth{Password: d.text.str(password), Hash: d.text.str(hash)}
	}
	secret, _, err := entry(d.jwt.b)
	if err != nil {
		return err
	}
	d.s.JWTSecret = d.text.str(secret)
	return d.triggers()
}

func (d *sessionDecoder) triggers() error {
	if !d.monitor.set {
		return nil
	}
	d.s.TriggerLimits = []float64{}
	c := cursor{msg: d.monitor.b}
	for c.next() {
		switch c.key {
		case 1<<3 | fixed64:
			d.s.TriggerLimits = append(d.s.TriggerLimits, math.Float64frombits(c.num))
		case 1<<3 | length: // packed
			if len(c.val())%8 != 0 {
				return errMalformed
			}
			for v := c.val(); len(v) > 0; v = v[8:] {
				bits, _ := protowire.ConsumeFixed64(v)
				d.s.TriggerLimits = append(d.s.TriggerLimits, math.Float64frombits(bits))
			}
		}
		if len(d.s.TriggerLimits) > MaxItems {
			return errTooMany
		}
	}
	return c.err
}
