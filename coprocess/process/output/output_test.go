package output

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLines(t *testing.T) {
	tests := []struct {
		name    string
		written []string
		want    []string
	}{
		{"lines", []string{"a\nb", "c\r\n\n", "d"}, []string{"out: a", "out: bc", "out: ", "out: d"}},
		{"long", []string{strings.Repeat("x", 25) + "\nnext\n"}, []string{"out: xxxxxxxxxx…", "out: next"}},
		{"controls", []string{"\x1b[31mr\x00\x7f\t\n"}, []string{`out: \x1b[31mr\x00\x7f` + "\t"}},
		{"no UTF-8", []string{"\xff\xc3é\n"}, []string{`out: \xff\xc3é`}},
		{"turns round", []string{"a\u202eb\u0085\n"}, []string{`out: a\xe2\x80\xaeb\xc2\x85`}},
		{"peeked", []string{"mine\nnot\n"}, []string{"out: not"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			o := New(Options{Line: 10, Take: func(stream, line string) { got = append(got, stream+": "+line) }})
			r, w := io.Pipe()
			go func() {
				for _, s := range test.written {
					_, _ = w.Write([]byte(s))
				}
				_ = w.Close()
			}()
			o.Read("out", r, func(line string) bool { return line == "mine" })
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTail(t *testing.T) {
	o := New(Options{Keep: 3})
	s := o.Stream("err", nil)
	for i := range 5 {
		fmt.Fprintln(s, i)
	}
	if got, want := o.Tail(), []string{"2", "3", "4"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A flood is read no faster than eight times the rate, and handed on at the rate.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, seconds = 1 << 20, 3
		bytes := 0
		o := New(Options{Rate: rate, Take: func(_, line string) { bytes += len(line) + 1 }})
		flood := &io.LimitedReader{R: zeros{}, N: seconds * faster * rate}
		begun := time.Now()
		o.Read("out", flood, nil)
		if took := time.Since(begun); took < seconds*time.Second*9/10 {
			t.Errorf("read %d times the rate in %v", seconds*faster, took)
		}
		if most := (seconds + 1) * rate; bytes > most+piece || bytes < seconds*rate {
			t.Errorf("%d bytes handed on, want about %d", bytes, most)
		}
		if c := o.Counts(); c.Dropped == 0 || c.Lines == 0 {
			t.Errorf("counts %+v", c)
		}
	})
}

// zeros is an endless text of short lines.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
		if i%100 == 99 {
			p[i] = '\n'
		}
	}
	return len(p), nil
}

// However low the rate, and however high, the end of what is read is noticed soon.
func TestRates(t *testing.T) {
	for _, rate := range []int{1, 1 << 61, math.MaxInt} {
		synctest.Test(t, func(t *testing.T) {
			o := New(Options{Rate: rate})
			begun := time.Now()
			o.Read("stdout", strings.NewReader(strings.Repeat("x", piece)+"\n"), nil)
			if took := time.Since(begun); took > time.Second {
				t.Errorf("at %d bytes a second it takes %v", rate, took)
			}
		})
	}
}
