package identity

import (
	"encoding/binary"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// What is stored of a session: a byte that no JSON begins with, then fields, each a tag and its value; what has no tag
// stands in one of them as JSON. So what most sessions have is read without a look at names, and nothing else needs
// a tag of its own, now or later: a new field of Session is written as JSON, and is unknown to an older program. Sessions
// that are stored as JSON, by older versions or by hand, are read as well.
const compact = 1

// The tags. A number that was given stays what it is.
const (
	tagOrg     = iota + 1 // text
	tagAlias              // text
	tagTag                // text, once for each
	tagMeta               // two texts: name, value
	tagMetaRaw            // the same, the value being JSON
	tagCreated            // text, of time.Time.MarshalBinary
	tagUpdated            // text
	tagInactive
	tagRate     // 8 bytes
	tagPer      // 8 bytes
	tagQuota    // number
	tagRenewal  // number
	tagRights   // text, see appendRights
	tagPolicy   // text
	tagPolicies // text, once for each
	tagExpires  // number
	tagLifetime // number
	tagDeadline // number
	tagPassword // text
	tagHash     // text
	tagJWT      // text
	tagHMAC
	tagHMACSecret  // text
	tagCertificate // text
	tagRest        // text: JSON of everything else
)

// Larger records are written as JSON too, to see whether that is small enough to be imported again.
const surelySmall = MaxJSON / 16

// bytes is what is stored of a session, not larger than what can be read back. Equal sessions give equal bytes.
func (s *Session) bytes() ([]byte, error) {
	b, err := s.appendCompact(make([]byte, 0, 256))
	if err != nil {
		return nil, err
	}
	if len(b) > surelySmall {
		data, err := s.MarshalJSON()
		if err == nil && len(data) > MaxJSON {
			err = fmt.Errorf("%w session: %d bytes of JSON, at most %d", ErrInvalid, len(data), MaxJSON)
		}
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (s *Session) appendCompact(b []byte) ([]byte, error) {
	rest := bareSession(*s) // what has a tag is taken out
	b = append(b, compact)
	for _, f := range []struct {
		tag  byte
		text *string
	}{
		{tagOrg, &rest.OrgID}, {tagAlias, &rest.Alias}, {tagUpdated, &rest.LastUpdated}, {tagPolicy, &rest.ApplyPolicyID},
		{tagPassword, &rest.BasicAuth.Password}, {tagHash, &rest.BasicAuth.Hash}, {tagJWT, &rest.JWT.Secret},
		{tagHMACSecret, &rest.HMACSecret}, {tagCertificate, &rest.Certificate},
	} {
		if *f.text != "" {
			b = appendText(append(b, f.tag), *f.text)
			*f.text = ""
		}
	}
	for _, f := range []struct {
		tag    byte
		number *int64
	}{
		{tagQuota, &rest.QuotaMax}, {tagRenewal, &rest.QuotaRenewalRate}, {tagExpires, &rest.Expires}, {tagLifetime, &rest.Lifetime},
		{tagDeadline, &rest.IDExtractorDeadline},
	} {
		if *f.number != 0 {
			b = binary.AppendVarint(append(b, f.tag), *f.number)
			*f.number = 0
		}
	}
	for _, f := range []struct {
		tag byte
		set *bool
	}{{tagInactive, &rest.Inactive}, {tagHMAC, &rest.HMACEnabled}} {
		if *f.set {
			b = append(b, f.tag)
			*f.set = false
		}
	}
	for _, f := range []struct {
		tag    byte
		figure *float64
	}{{tagRate, &rest.Rate}, {tagPer, &rest.Per}} {
		if *f.figure != 0 && !math.IsInf(*f.figure, 0) && !math.IsNaN(*f.figure) { // which JSON refuses below
			b = binary.BigEndian.AppendUint64(append(b, f.tag), math.Float64bits(*f.figure))
			*f.figure = 0
		}
	}
	return rest.appendParts(b)
}

// appendParts writes what is made of parts, and then whatever is left.
func (s *bareSession) appendParts(b []byte) ([]byte, error) {
	for _, t := range s.Tags {
		b = appendText(append(b, tagTag), t)
	}
	for _, p := range s.ApplyPolicies {
		b = appendText(append(b, tagPolicies), p)
	}
	b, err := appendMetadata(b, s.Metadata)
	if err != nil {
		return nil, err
	}
	if !s.DateCreated.IsZero() {
		when, err := s.DateCreated.MarshalBinary()
		if year := s.DateCreated.Year(); err != nil || year < 0 || year > 9999 {
			return nil, fmt.Errorf("%w session: /date_created: it has no such form", ErrInvalid)
		}
		b = appendText(append(b, tagCreated), string(when))
	}
	if len(s.AccessRights) > 0 {
		rights, err := appendRights(nil, s.AccessRights)
		if err != nil {
			return nil, err
		}
		b = appendText(append(b, tagRights), string(rights))
	}
	s.Tags, s.ApplyPolicies, s.Metadata, s.DateCreated, s.AccessRights = nil, nil, nil, time.Time{}, nil
	rest, err := appendRest(nil, s)
	if err != nil || len(rest) == 0 {
		return b, err
	}
	return appendText(append(b, tagRest), string(rest)), nil
}

func appendMetadata(b []byte, m Metadata) ([]byte, error) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if value, is := m[name].(string); is {
			b = appendText(appendText(append(b, tagMeta), name), value)
			continue
		}
		value := jsontext.Value(text(m[name]))
		if err := value.Compact(); err != nil {
			return nil, fmt.Errorf("%w session: /meta_data: a value that is not JSON", ErrInvalid)
		}
		b = appendText(appendText(append(b, tagMetaRaw), name), string(value))
	}
	return b, nil
}

// appendRights writes access rights, in the order of their ids: id, API's name and id, scope, how many versions and the
// versions, and the rest as JSON, empty when there is none.
func appendRights(b []byte, rights map[string]Access) ([]byte, error) {
	for _, id := range slices.Sorted(maps.Keys(rights)) {
		a := rights[id]
		for _, t := range []string{id, a.APIName, a.APIID, a.AllowanceScope} {
			b = appendText(b, t)
		}
		b = binary.AppendUvarint(b, uint64(len(a.Versions)))
		for _, v := range a.Versions {
			b = appendText(b, v)
		}
		a.APIName, a.APIID, a.AllowanceScope, a.Versions = "", "", "", nil
		rest, err := appendRest(nil, &a)
		if err != nil {
			return nil, err
		}
		b = appendText(b, string(rest))
	}
	return b, nil
}

// appendRest writes as JSON what of a value is not zero, nothing if it is.
func appendRest[T any](b []byte, from *T) ([]byte, error) {
	if reflect.ValueOf(from).Elem().IsZero() {
		return b, nil
	}
	data, err := encode("session", from)
	if err != nil || string(data) == "{}" {
		return b, err
	}
	return append(b, data...), nil
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// decodeStored reads what is stored of a session. Its access rights are shared with sessions that have the same.
func (g *sharing) decodeStored(data []byte) (*Session, *grants, error) {
	if len(data) == 0 || data[0] != compact {
		s, err := DecodeSession(data)
		if err != nil {
			return nil, nil, err
		}
		return s, nil, nil
	}
	if len(data) > MaxJSON {
		return nil, nil, fmt.Errorf("%w session: %d bytes, at most %d", ErrInvalid, len(data), MaxJSON)
	}
	r := record{left: string(data[1:])}
	s := &Session{}
	var shared *grants
	for r.left != "" && r.err == nil {
		tag := r.left[0]
		r.left = r.left[1:]
		if tag == tagRights {
			shared = g.rights(&r)
			continue
		}
		r.field(s, tag)
	}
	if r.err != nil {
		return nil, nil, fmt.Errorf("%w session: what is stored of it cannot be read: %w", ErrInvalid, r.err)
	}
	if shared != nil && s.AccessRights == nil {
		s.AccessRights = shared.rights
		return s, shared, nil
	}
	return s, nil, nil
}

// record is what is left of a record to read.
type record struct {
	left string
	err  error
}

func (r *record) field(s *Session, tag byte) {
	switch tag {
	case tagOrg:
		s.OrgID = r.text()
	case tagAlias:
		s.Alias = r.text()
	case tagTag:
		s.Tags = append(s.Tags, r.text())
	case tagUpdated:
		s.LastUpdated = r.text()
	case tagInactive:
		s.Inactive = true
	case tagRate:
		s.Rate = r.figure()
	case tagPer:
		s.Per = r.figure()
	case tagQuota:
		s.QuotaMax = r.number()
	case tagRenewal:
		s.QuotaRenewalRate = r.number()
	case tagPolicy:
		s.ApplyPolicyID = r.text()
	case tagPolicies:
		s.ApplyPolicies = append(s.ApplyPolicies, r.text())
	case tagExpires:
		s.Expires = r.number()
	case tagLifetime:
		s.Lifetime = r.number()
	case tagDeadline:
		s.IDExtractorDeadline = r.number()
	default:
		r.rareField(s, tag)
	}
}

func (r *record) rareField(s *Session, tag byte) {
	switch tag {
	case tagMeta, tagMetaRaw:
		if s.Metadata == nil {
			s.Metadata = Metadata{}
		}
		if name, value := r.text(), r.text(); tag == tagMeta {
			s.Metadata[name] = value
		} else {
			s.Metadata[name] = stdjson.RawMessage(value)
			r.check(jsontext.Value(value).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)), "metadata that is not JSON")
		}
	case tagCreated:
		r.check(s.DateCreated.UnmarshalBinary([]byte(r.text())) == nil, "a time that is none")
	case tagPassword:
		s.BasicAuth.Password = r.text()
	case tagHash:
		s.BasicAuth.Hash = r.text()
	case tagJWT:
		s.JWT.Secret = r.text()
	case tagHMAC:
		s.HMACEnabled = true
	case tagHMACSecret:
		s.HMACSecret = r.text()
	case tagCertificate:
		s.Certificate = r.text()
	case tagRest:
		if rest := r.text(); r.err == nil {
			r.err = s.UnmarshalJSON([]byte(rest))
		}
	default:
		r.check(false, fmt.Sprintf("it has a field %d, of a newer program", tag))
	}
}

func (r *record) check(fine bool, what string) {
	if !fine && r.err == nil {
		r.err, r.left = errors.New(what), ""
	}
}

func (r *record) size() int {
	n := uint64(0)
	for i := range min(len(r.left), 5) {
		c := r.left[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.left = r.left[i+1:]
			if n <= uint64(len(r.left)) {
				return int(n)
			}
			break
		}
	}
	r.check(false, "it is cut off")
	return 0
}

// text refers to the record's memory.
func (r *record) text() string {
	n := r.size()
	if r.err != nil {
		return ""
	}
	t := r.left[:n]
	r.left = r.left[n:]
	return t
}

func (r *record) number() int64 {
	var room [binary.MaxVarintLen64]byte
	n, used := binary.Varint(room[:copy(room[:], r.left)])
	if used <= 0 {
		r.check(false, "it is cut off")
		return 0
	}
	r.left = r.left[used:]
	return n
}

func (r *record) figure() float64 {
	if len(r.left) < 8 {
		r.check(false, "it is cut off")
		return 0
	}
	var room [8]byte
	copy(room[:], r.left)
	r.left = r.left[8:]
	f := math.Float64frombits(binary.BigEndian.Uint64(room[:]))
	r.check(!math.IsNaN(f) && !math.IsInf(f, 0), "a figure that is none")
	return f
}
