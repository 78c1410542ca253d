package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
)

// sink publishes to the stream and waits for its acknowledgements. After any failure it begins anew with a connection: on
// one connection the server has the messages up to one and none behind it, and so their order stays.
//
// Of the client's two interfaces to JetStream this is the older one. It can all that is needed here, and the newer one would
// add 0.6 MiB to the program.
type sink struct {
	s       *settings
	options []client.Option
	run     string // tells message ids of this run from those of others

	conn   *client.Conn
	stream client.JetStreamContext
	acks   *acks
	line   *line
}

var _ ship.Sink = (*sink)(nil)

// line is what lies under a connection, and what the server complained of on it. It implements [client.CustomDialer].
type line struct {
	ctx    context.Context // of the attempt that connects
	closed chan struct{}   // when nothing will come any more

	mu   sync.Mutex
	conn net.Conn
	said error
}

// Dial implements [client.CustomDialer].
func (l *line) Dial(network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(l.ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
	return conn, nil
}

// cut ends what is under way on the connection.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		_ = l.conn.Close() // whoever reads or writes there is told
	}
}

func (l *line) note(_ *client.Conn, _ *client.Subscription, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.said = err
	}
}

// why is what the server complained of, or else what came of it.
func (l *line) why(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.said != nil {
		return fmt.Errorf("%w (%w)", err, l.said)
	}
	return err
}

// Send implements [ship.Sink]. The stream knows an item that is sent again by its id, within its window for duplicates.
func (k *sink) Send(ctx context.Context, items []ship.Item) (int, error) {
	if err := k.connect(ctx); err != nil {
		return 0, err
	}
	// The client's writes know no context: a server that does not read is left by closing the connection under them.
	stop := context.AfterFunc(ctx, k.line.cut)
	defer stop()
	sent, failure := k.acks.publish(items)
	n, err := k.acks.await(ctx, sent, k.line.closed)
	if err == nil {
		err = failure
	}
	if err != nil {
		err = k.judge(err)
	}
	return n, err
}

// tooLargeForStream is JetStream's code for a message above the stream's max_msg_size.
const tooLargeForStream client.ErrorCode = 10054

// never reports whether an error is about one item, which will never be taken.
func never(err error) bool {
	if said := (*client.APIError)(nil); errors.As(err, &said) && said.ErrorCode == tooLargeForStream {
		return true
	}
	return errors.Is(err, client.ErrMaxPayload) || errors.Is(err, client.ErrBadSubject)
}

// judge finds out what will never be taken. After anything else there is no more to be had from this connection.
func (k *sink) judge(err error) error {
	if never(err) {
		return ship.Reject(1, err)
	}
	why := k.line.why(err)
	if errors.Is(err, client.ErrNoResponders) || errors.Is(err, client.ErrNoStreamResponse) {
		why = fmt.Errorf("no stream has the subject: stream %s is not there, or does not list it: %w", k.s.Stream.Name, err)
	}
	k.leave()
	return why
}

// connect makes sure of a connection, and of a stream when one is to be made.
func (k *sink) connect(ctx context.Context) error {
	if k.conn != nil && k.conn.IsConnected() {
		return nil
	}
	k.leave()
	l := &line{ctx: ctx, closed: make(chan struct{})}
	patience := time.Duration(k.s.Retry.Timeout)
	if end, ok := ctx.Deadline(); ok {
		patience = time.Until(end)
	}
	each := max(patience/time.Duration(len(k.s.Servers)), time.Millisecond)
	stop := context.AfterFunc(ctx, l.cut)
	defer stop()
	options := append([]client.Option{
		client.SetCustomDialer(l), client.Timeout(each), client.ErrorHandler(l.note), client.ClosedHandler(func(*client.Conn) { close(l.closed) }),
	}, k.options...)
	conn, err := client.Connect(strings.Join(k.s.Servers, ","), options...)
	if err != nil {
		return fmt.Errorf("connect: %w", l.why(err))
	}
	k.conn, k.line = conn, l
	if k.stream, err = conn.JetStream(); err == nil && k.s.Stream.Create {
		err = k.create(ctx)
	}
	if err == nil {
		k.acks, err = newAcks(conn, k.run, k.s.Stream.Name, k.s.Batch.Count)
	}
	if err != nil {
		err = fmt.Errorf("stream %s: %w", k.s.Stream.Name, l.why(err))
		k.leave()
		return err
	}
	return nil
}

// create makes the stream. One of the name that is there already is as somebody wants it: also where a server refuses to make
// it before it looks for it, because its bounds do not fit in beside those of the stream itself.
func (k *sink) create(ctx context.Context) error {
	root, _, _ := strings.Cut(k.s.Subject, ".")
	o := &k.s.Stream
	_, err := k.stream.AddStream(&client.StreamConfig{
		Name: o.Name, Subjects: []string{root, root + ".>"}, Storage: client.FileStorage, Discard: client.DiscardOld,
		Replicas: o.Replicas, MaxBytes: int64(o.MaxSize), MaxAge: time.Duration(o.MaxAge),
	}, client.Context(ctx))
	if err == nil || errors.Is(err, client.ErrStreamNameAlreadyInUse) {
		return nil
	}
	if _, missing := k.stream.StreamInfo(o.Name, client.Context(ctx)); missing == nil {
		return nil
	}
	return err
}

// leave closes what there is: everything on it is acknowledged, or will be sent again.
func (k *sink) leave() {
	if k.conn == nil {
		return
	}
	k.line.cut() // before Close, which writes what is left as long as it is taken
	k.conn.Close()
	k.conn, k.stream, k.acks, k.line = nil, nil, nil, nil
}

// Close implements [ship.Sink].
func (k *sink) Close() error {
	k.leave()
	return nil
}
