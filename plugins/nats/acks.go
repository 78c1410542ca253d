package nats

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	client "github.com/nats-io/nats.go"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
)

// acks publishes on a connection, and gathers what the stream says to it. The client's own way to do so makes a future with
// two channels, a random subject and a header for each message, and decodes each acknowledgement by reflection: more than half of
// what a message costs. It is one goroutine's.
type acks struct {
	conn   *client.Conn
	msg    client.Msg // used for every message: the client has written it when it returns
	run    string     // and "-", with which message ids begin
	inbox  string     // and ".", with which subjects of acknowledgements begin; behind it stands an item's number
	good   []byte     // with which an acknowledgement of the stream begins
	stream string
	come   chan *client.Msg
	begun  int    // the number of the batch's first item: what is said to those of earlier batches is too late
	came   []bool // of the batch's items
	buf    []byte
}

// newAcks listens to what a stream says to batches of at most so many.
func newAcks(conn *client.Conn, run, stream string, most int) (*acks, error) {
	name, err := json.Marshal(stream)
	if err != nil {
		return nil, err
	}
	a := &acks{
		conn: conn, run: run + "-", inbox: conn.NewInbox() + ".", good: fmt.Appendf(nil, `{"stream":%s,`, name), stream: stream,
		come: make(chan *client.Msg, 2*most+1), // the client drops what does not fit
	}
	a.msg.Header = client.Header{client.MsgIdHdr: {""}, client.ExpectedStreamHdr: {stream}}
	_, err = conn.ChanSubscribe(a.inbox+"*", a.come)
	return a, err
}

// publish publishes items up to the first that the client refuses, and says why it did.
func (a *acks) publish(items []ship.Item) (int, error) {
	a.begun += len(a.came)
	a.came = append(a.came[:0], make([]bool, len(items))...)
	defer func() { a.msg.Data = nil }() // which is the queue's
	id := a.msg.Header[client.MsgIdHdr]
	for i := range items {
		a.buf = strconv.AppendUint(append(a.buf[:0], a.run...), items[i].Seq, 10)
		id[0] = string(a.buf)
		a.buf = strconv.AppendInt(append(a.buf[:0], a.inbox...), int64(a.begun+i), 10)
		a.msg.Subject, a.msg.Reply, a.msg.Data = string(items[i].Key), string(a.buf), items[i].Body
		if err := a.conn.PublishMsg(&a.msg); err != nil {
			return i, err
		}
	}
	return len(items), nil
}

// await waits until each of n items has an acknowledgement, as long as one can come, and returns how many from the first on have
// a good one, and what is said of the next. An item that will never be taken is no reason not to wait for the others'.
func (a *acks) await(ctx context.Context, n int, closed <-chan struct{}) (int, error) {
	bad, why := n, error(nil)
	for left := n; left > 0; {
		m, err := a.next(ctx, closed)
		if err != nil {
			return a.first(bad, err, why)
		}
		number, err := strconv.Atoi(m.Subject[min(len(a.inbox), len(m.Subject)):])
		i := number - a.begun
		if err != nil || i < 0 || i >= n || a.came[i] {
			continue // too late, or nobody whom we asked
		}
		left--
		if err = a.read(m); err == nil {
			a.came[i] = true
			continue
		}
		if i < bad {
			bad, why = i, err
		}
		if !never(err) {
			return a.first(bad, err, why)
		}
	}
	return bad, why
}

// first is the place of the first item that has no good acknowledgement, and why: what was said of it, or else what ended the wait.
func (a *acks) first(bad int, ended, said error) (int, error) {
	for i, came := range a.came {
		if !came {
			if i == bad {
				return i, said
			}
			return i, ended
		}
	}
	return len(a.came), ended
}

// next is the next thing that the stream says. What has come counts, whatever else has happened.
func (a *acks) next(ctx context.Context, closed <-chan struct{}) (*client.Msg, error) {
	select {
	case m := <-a.come:
		return m, nil
	default:
	}
	select {
	case m := <-a.come:
		return m, nil
	case <-closed:
		return nil, client.ErrConnectionClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// read returns nil when a message says that the stream has stored something. As servers write it that is seen at a glance.
func (a *acks) read(m *client.Msg) error {
	if bytes.HasPrefix(m.Data, a.good) && !bytes.Contains(m.Data, []byte(`"error"`)) {
		return nil
	}
	const status, noResponders = "Status", "503"
	if len(m.Data) == 0 && m.Header.Get(status) == noResponders {
		return client.ErrNoResponders
	}
	var said struct {
		Error  *client.APIError `json:"error"`
		Stream string           `json:"stream"`
	}
	switch err := json.Unmarshal(m.Data, &said); {
	case err != nil || said.Error == nil && said.Stream != a.stream:
		return client.ErrInvalidJSAck
	case said.Error != nil:
		return said.Error
	}
	return nil
}
