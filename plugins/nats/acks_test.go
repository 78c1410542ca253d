package nats

import (
	"context"
	"errors"
	"strings"
	"testing"

	client "github.com/nats-io/nats.go"
)

// What the stream says may come in any order, twice, too late or not at all: what counts as arrived is what lies before the first
// item without a good word.
func TestAwait(t *testing.T) {
	t.Parallel()
	const (
		good      = `{"stream":"S", "seq":1}`
		twice     = `{"stream":"S","domain":"hub","seq":1,"duplicate":true}`
		elsewhere = `{"stream":"OTHER", "seq":1}`
		tooLarge  = `{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"},"stream":"S","seq":0}`
		full      = `{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"S","seq":0}`
		lateError = `{"stream":"S","seq":0,"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}`
		nobody    = "503"
	)
	for _, test := range []struct {
		name string
		came string // for the numbers 10 to 12: "number what", separated by lines
		want int
		err  string // "" when nothing is wrong
	}{
		{"all", "10 " + good + "\n11 " + twice + "\n12 " + good, 3, ""},
		{"the wrong way round", "12 " + good + "\n11 " + good + "\n10 " + good, 3, ""},
		{"too late and unasked", "9 " + nobody + "\n13 " + good + "\nx " + full + "\n10 " + good + "\n10 " + full + "\n11 " + good + "\n12 " + good, 3, ""},
		{"one too large, and what is behind it awaited", "10 " + good + "\n11 " + tooLarge + "\n12 " + good, 1, "message size"},
		{"the first of two too large", "12 " + tooLarge + "\n10 " + tooLarge + "\n11 " + good, 0, "message size"},
		{"full", "10 " + good + "\n11 " + full, 1, "maximum bytes"},
		{"full, told behind the stream", "10 " + lateError, 0, "maximum bytes"},
		{"full before one that has not come", "10 " + good + "\n12 " + full, 1, "maximum bytes"},
		{"another stream", "10 " + elsewhere, 0, client.ErrInvalidJSAck.Error()},
		{"no JSON", "10 {", 0, client.ErrInvalidJSAck.Error()},
		{"nobody there", "10 " + nobody, 0, client.ErrNoResponders.Error()},
		{"none for the last", "10 " + good + "\n11 " + good, 2, context.Canceled.Error()},
		{"none for the second", "12 " + good + "\n10 " + good, 1, context.Canceled.Error()},
	} {
		a := &acks{inbox: "I.", stream: "S", good: []byte(`{"stream":"S",`), begun: 10, came: make([]bool, 3), come: make(chan *client.Msg, 9)}
		for line := range strings.Lines(test.came) {
			number, what, _ := strings.Cut(strings.TrimSpace(line), " ")
			m := &client.Msg{Subject: "I." + number, Data: []byte(what)}
			if what == nobody {
				m.Data, m.Header = nil, client.Header{"Status": {nobody}}
			}
			a.come <- m
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		n, err := a.await(ctx, 3, nil)
		if n != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %d, %v", test.name, n, err)
		}
	}
	closed := make(chan struct{})
	close(closed)
	a := &acks{come: make(chan *client.Msg), came: make([]bool, 1)}
	if n, err := a.await(t.Context(), 1, closed); n != 0 || !errors.Is(err, client.ErrConnectionClosed) {
		t.Errorf("closed: %d, %v", n, err)
	}
}
