package wire

import (
	"math"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

func appendKey(b []byte, number, typ uint64) []byte { return appendVarint(b, number<<3|typ) }

// appendVarint is protowire's, inlined for what takes one byte.
func appendVarint(b []byte, v uint64) []byte {
	if v < 0x80 {
		return append(b, byte(v))
	}
	return protowire.AppendVarint(b, v)
}

// appendUint appends a varint field unless it is zero.
func appendUint(b []byte, number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return appendVarint(appendKey(b, number, varint), v)
}

func appendInt(b []byte, number uint64, v int64) []byte { return appendUint(b, number, uint64(v)) }

func appendSint(b []byte, number uint64, v int64) []byte {
	return appendUint(b, number, protowire.EncodeZigZag(v))
}

func appendBool(b []byte, number uint64, v bool) []byte {
	if !v {
		return b
	}
	return append(appendKey(b, number, varint), 1)
}

func appendDouble(b []byte, number uint64, v float64) []byte {
	if math.Float64bits(v) == 0 {
		return b
	}
	return protowire.AppendFixed64(appendKey(b, number, fixed64), math.Float64bits(v))
}

// appendBytes appends a bytes field even when it is empty.
func appendBytes[T string | []byte](b []byte, number uint64, v T) []byte {
	b = appendVarint(appendKey(b, number, length), uint64(len(v)))
	return append(b, v...)
}

// appendSome appends a bytes field unless it is empty.
func appendSome[T string | []byte](b []byte, number uint64, v T) []byte {
	if len(v) == 0 {
		return b
	}
	return appendBytes(b, number, v)
}

// appendText appends a string field unless it is empty.
func appendText(b []byte, number uint64, s string) []byte {
	if s == "" {
		return b
	}
	return appendBytes(b, number, valid(s))
}

// appendEntry appends one entry of a map of strings.
func appendEntry(b []byte, number uint64, key, value string) []byte {
	key, value = valid(key), valid(value)
	b = appendKey(b, number, length)
	b = appendVarint(b, uint64(2+sizeBytes(len(key))+sizeBytes(len(value))))
	b = appendBytes(b, 1, key)
	return appendBytes(b, 2, value)
}

// sizeBytes is the size of n bytes with their length before them.
func sizeBytes(n int) int { return protowire.SizeVarint(uint64(n)) + n }

// valid replaces what is not UTF-8 in s.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// mark is where a message begins whose length is not known yet.
type mark struct{ start, width int }

// open begins a message field whose contents are then appended; guess is about how long they will be.
func open(b []byte, number uint64, guess int) ([]byte, mark) {
	b = appendKey(b, number, length)
	width := protowire.SizeVarint(uint64(guess))
	for range width {
		b = append(b, 0)
	}
	return b, mark{len(b), width}
}

// shut ends the message that open began.
func shut(b []byte, m mark) []byte {
	n := len(b) - m.start
	width := protowire.SizeVarint(uint64(n))
	for range width - m.width {
		b = append(b, 0)
	}
	if width != m.width {
		copy(b[m.start-m.width+width:], b[m.start:m.start+n])
		b = b[:m.start-m.width+width+n]
	}
	appendVarint(b[:m.start-m.width], uint64(n))
	return b
}
