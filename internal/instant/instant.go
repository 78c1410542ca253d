// Package instant writes times as logs and records have them.
package instant

import "time"

// Append appends a time of the years 0 to 9999 as RFC 3339 has it, in UTC and with microseconds: package time does the same
// in four times as long.
func Append(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = digits(b, year, 4)
	b = digits(append(b, '-'), int(month), 2)
	b = digits(append(b, '-'), day, 2)
	b = digits(append(b, 'T'), hour, 2)
	b = digits(append(b, ':'), minute, 2)
	b = digits(append(b, ':'), second, 2)
	b = digits(append(b, '.'), t.Nanosecond()/1000, 6)
	return append(b, 'Z')
}

// digits appends the last n digits of v, at most six.
func digits(b []byte, v, n int) []byte {
	at := len(b)
	b = append(b, "000000"[:n]...)
	for i := at + n - 1; i >= at; i-- {
		b[i] = byte('0' + v%10)
		v /= 10
	}
	return b
}
