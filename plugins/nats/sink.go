package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
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
	acks := make([]client.PubAckFuture, 0, len(items))
	var failure error
	for i := range items {
		ack, err := k.stream.PublishMsgAsync(
			&client.Msg{Subject: string(items[i].Key), Data: items[i].Body},
			client.MsgId(k.run+"-"+strconv.FormatUint(items[i].Seq, 10)), client.ExpectStream(k.s.Stream.Name), client.RetryAttempts(0),
		)
		if err != nil {
			failure = err
			break
		}
		acks = append(acks, ack)
	}
	for n, ack := range acks {
		if err := k.await(ctx, ack); err != nil {
			return n, k.judge(err)
		}
	}
	if failure != nil {
		return len(acks), k.judge(failure)
	}
	return len(items), nil
}

// await waits for one acknowledgement, as long as one can come. One that has come counts, whatever else has happened.
func (k *sink) await(ctx context.Context, ack client.PubAckFuture) error {
	select {
	case <-ack.Ok():
		return nil
	case err := <-ack.Err():
		return err
	default:
	}
	select {
	case <-ack.Ok():
		return nil
	case err := <-ack.Err():
		return err
	case <-k.line.closed:
		return client.ErrConnectionClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tooLargeForStream is JetStream's code for a message above the stream's max_msg_size.
const tooLargeForStream client.ErrorCode = 10054

// judge finds out what will never be taken. After anything else there is no more to be had from this connection.
func (k *sink) judge(err error) error {
	if said := (*client.APIError)(nil); errors.As(err, &said) && said.ErrorCode == tooLargeForStream {
		return ship.Reject(1, err)
	}
	if errors.Is(err, client.ErrMaxPayload) || errors.Is(err, client.ErrBadSubject) {
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
	if k.stream, err = conn.JetStream(client.PublishAsyncMaxPending(k.s.Batch.Count + 1)); err == nil && k.s.Stream.Create {
		err = k.create(ctx)
	}
	if err != nil {
		err = fmt.Errorf("stream %s: %w", k.s.Stream.Name, l.why(err))
		k.leave()
		return err
	}
	return nil
}

// create makes the stream. One of the name that is there already is as somebody wants it.
func (k *sink) create(ctx context.Context) error {
	root, _, _ := strings.Cut(k.s.Subject, ".")
	o := &k.s.Stream
	_, err := k.stream.AddStream(&client.StreamConfig{
		Name: o.Name, Subjects: []string{root, root + ".>"}, Storage: client.FileStorage, Discard: client.DiscardOld,
		Replicas: o.Replicas, MaxBytes: int64(o.MaxSize), MaxAge: time.Duration(o.MaxAge),
	}, client.Context(ctx))
	if errors.Is(err, client.ErrStreamNameAlreadyInUse) {
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
	k.conn, k.stream, k.line = nil, nil, nil
}

// Close implements [ship.Sink].
func (k *sink) Close() error {
	k.leave()
	return nil
}
