package wire

import (
	"math"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// MinorStats is the minor version from which on servers have the method Stats.
const MinorStats = 1

// maxStats bounds what is read of a StatsReply; the rest is ignored.
const maxStats = 256

// AppendStats appends a StatsReply.
func AppendStats(b []byte, stats []sdk.Stat) []byte {
	for i := range stats {
		var at mark
		b, at = open(b, 1, 64)
		b = appendText(b, 1, stats[i].Name)
		b = appendDouble(b, 2, stats[i].Value)
		b = shut(appendBool(b, 3, stats[i].Total), at)
	}
	return b
}

// DecodeStats reads a StatsReply. It copies everything.
func DecodeStats(b []byte) ([]sdk.Stat, error) {
	var all []sdk.Stat
	c := cursor{msg: b}
	for c.next() {
		if c.key != 1<<3|length || len(all) == maxStats {
			continue
		}
		s, err := decodeStat(c.val())
		if err != nil {
			return nil, garbage("stats reply", err)
		}
		all = append(all, s)
	}
	if c.err != nil {
		return nil, garbage("stats reply", c.err)
	}
	return all, nil
}

func decodeStat(b []byte) (s sdk.Stat, err error) {
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | length:
			s.Name = valid(string(c.val()))
		case 2<<3 | fixed64:
			s.Value = math.Float64frombits(c.num)
		case 3<<3 | varint:
			s.Total = c.num != 0
		}
	}
	return s, c.err
}
