package sign

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"slices"
)

// useless reports whether an Ed25519 key is one with which anybody can sign (a point of small order, RFC 8032 §8.4 and
// RFC 7748 §6.1), or that has another encoding besides (RFC 8032 §5.1.3), and so another id.
func useless(key ed25519.PublicKey) bool {
	if len(key) != ed25519.PublicKeySize {
		return true
	}
	y := bytes.Clone(key)
	y[31] &= 0x7f // what is above is the sign of x
	if slices.Contains(smallOrder(), hex.EncodeToString(y)) {
		return true
	}
	// 2²⁵⁵ - 19 and above.
	return y[0] >= 0xed && y[31] == 0x7f && bytes.Count(y[1:31], []byte{0xff}) == 30
}

// smallOrder are the y of the eight points of small order.
func smallOrder() []string {
	return []string{
		"0000000000000000000000000000000000000000000000000000000000000000", "0100000000000000000000000000000000000000000000000000000000000000",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	}
}
