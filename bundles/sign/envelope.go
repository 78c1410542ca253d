package sign

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/strict"
)

// An Envelope is a payload of a type with signatures over both, encoded as canonical JSON. One without signatures is
// valid and vouched for by nobody.
type Envelope struct {
	PayloadType string      `json:"payloadType"`
	Payload     []byte      `json:"payload"`
	Signatures  []Signature `json:"signatures"`
}

// A Signature is one key's. KeyID is the hint which key to try, PublicKey.ID.
type Signature struct {
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}

// NewEnvelope returns an envelope that nobody has signed.
func NewEnvelope(payloadType string, payload []byte) Envelope {
	return Envelope{PayloadType: payloadType, Payload: payload, Signatures: []Signature{}}
}

// DecodeEnvelope reads an envelope that must be of payloadType. limit bounds data.
func DecodeEnvelope(data []byte, payloadType string, limit int64) (Envelope, error) {
	if int64(len(data)) > limit {
		return Envelope{}, refusal.New(refusal.LimitEnvelope, "an envelope of %d bytes, at most %d", len(data), limit)
	}
	var e Envelope
	if err := strict.Canonical(data, &e); err != nil {
		return Envelope{}, refusal.New(refusal.Envelope, "the envelope: %w", err)
	}
	switch {
	case e.PayloadType != payloadType:
		return Envelope{}, refusal.New(refusal.EnvelopeType, "an envelope of type %.80q, not %q", e.PayloadType, payloadType)
	case e.Signatures == nil || len(e.Payload) == 0:
		return Envelope{}, refusal.New(refusal.Envelope, "the envelope: no list of signatures or no payload")
	case len(e.Signatures) > MaxSignatures:
		return Envelope{}, refusal.New(refusal.LimitSignatures, "%d signatures, at most %d", len(e.Signatures), MaxSignatures)
	}
	for i, s := range e.Signatures {
		raw, err := hex.DecodeString(s.KeyID)
		if err != nil || len(raw) != sha256.Size || hex.EncodeToString(raw) != s.KeyID || len(s.Sig) == 0 || len(s.Sig) > maxSignature {
			return Envelope{}, refusal.New(refusal.Envelope, "the envelope: signature %d has no key id or no bytes", i+1)
		}
		if i > 0 && e.Signatures[i-1].KeyID >= s.KeyID {
			return Envelope{}, refusal.New(refusal.SignatureTwice, "the envelope: its signatures are not in the order of their keys, each once")
		}
	}
	return e, nil
}

// Encode returns the one encoding of e.
func (e Envelope) Encode() ([]byte, error) { return strict.Encode(e) }

// Digest is the SHA-256 of the payload in lower-case hex: the identity of what is signed, whoever signed it.
func (e Envelope) Digest() string {
	sum := sha256.Sum256(e.Payload)
	return hex.EncodeToString(sum[:])
}

// PAE returns the bytes that are signed, DSSE's pre-authentication encoding of type and payload. Whoever signs with a
// device signs these, and adds the result with Add.
func PAE(payloadType string, payload []byte) []byte {
	b := make([]byte, 0, len(payload)+len(payloadType)+40)
	b = append(b, "DSSEv1 "...)
	b = strconv.AppendInt(b, int64(len(payloadType)), 10)
	b = append(b, ' ')
	b = append(b, payloadType...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(b, ' ')
	return append(b, payload...)
}

// Sign returns e with the signature of key; one that key made before is replaced.
func (e Envelope) Sign(key SecretKey) (Envelope, error) {
	sig, err := key.sign(PAE(e.PayloadType, e.Payload))
	if err != nil {
		return Envelope{}, err
	}
	return e.Add(key.public, sig)
}

// Add returns e with a signature that key verifies.
func (e Envelope) Add(key PublicKey, sig []byte) (Envelope, error) {
	if len(e.PayloadType) == 0 || len(e.PayloadType) > maxType {
		return Envelope{}, refusal.New(refusal.EnvelopeType, "a payload type of %d bytes", len(e.PayloadType))
	}
	if !key.verify(PAE(e.PayloadType, e.Payload), sig) {
		return Envelope{}, refusal.New(refusal.SignatureInvalid, "key %.16s… does not verify the new signature", key.id)
	}
	all := slices.DeleteFunc(slices.Clone(e.Signatures), func(s Signature) bool { return s.KeyID == key.id })
	all = append(all, Signature{KeyID: key.id, Sig: bytes.Clone(sig)})
	slices.SortFunc(all, func(a, b Signature) int { return cmp.Compare(a.KeyID, b.KeyID) })
	if len(all) > MaxSignatures {
		return Envelope{}, refusal.New(refusal.LimitSignatures, "%d signatures, at most %d", len(all), MaxSignatures)
	}
	return Envelope{PayloadType: e.PayloadType, Payload: e.Payload, Signatures: all}, nil
}

// Verify returns the keys whose signatures hold, each once. Signatures of keys that are not given are passed over, so
// that a new key can sign before everybody trusts it; one of a given key that does not hold is an error, and so is an
// envelope without any signature.
func (e Envelope) Verify(keys []PublicKey) ([]PublicKey, error) {
	if len(e.Signatures) == 0 {
		return nil, refusal.New(refusal.Unsigned, "nobody has signed it")
	}
	message := PAE(e.PayloadType, e.Payload)
	var held []PublicKey
	for _, s := range e.Signatures {
		i := slices.IndexFunc(keys, func(k PublicKey) bool { return k.id == s.KeyID })
		if i < 0 {
			continue
		}
		if !keys[i].verify(message, s.Sig) {
			return nil, refusal.New(refusal.SignatureInvalid, "the signature of key %.16s… does not hold", s.KeyID)
		}
		held = append(held, keys[i])
	}
	if len(held) == 0 {
		return nil, refusal.New(refusal.KeyUnknown, "signed by %s, none of which is trusted here", e.signers())
	}
	return held, nil
}

// signers names the keys for a message.
func (e Envelope) signers() string {
	text := ""
	for i, s := range e.Signatures {
		if i > 0 {
			text += ", "
		}
		text += "key " + s.KeyID[:16] + "…"
	}
	return text
}
