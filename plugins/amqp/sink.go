package amqp

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	rabbit "github.com/rabbitmq/amqp091-go"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
)

// sink publishes on one channel, and waits for the broker's confirms. After any failure it begins anew with a connection,
// which declares what it publishes to again: a broker that was reset has it as one that never knew it.
type sink struct {
	s   *settings
	tls *tls.Config // nil: none
	run string      // tells message ids of this run from those of others

	wire    *link // under connection
	conn    *rabbit.Connection
	channel *rabbit.Channel
	failed  chan *rabbit.Error // why the broker closed the channel
}

var _ ship.Sink = (*sink)(nil)

const heartbeat = 10 * time.Second

// Send implements [ship.Sink]. What the broker has confirmed has arrived.
func (k *sink) Send(ctx context.Context, items []ship.Item) (int, error) {
	if err := k.connect(ctx); err != nil {
		return 0, err
	}
	// The library's writes know no context: a broker that does not read is left by closing the connection under them.
	defer k.closeWith(ctx)()
	if len(items) == 0 {
		return 0, nil
	}
	wire := k.wire // the sink's own is gone when it has left the connection
	done := wire.begin(len(items))
	wire.cork()
	m := message{exchange: k.s.Exchange.Name, id: []byte(k.run + "-"), persistent: !k.s.Transient, frame: k.conn.Config.FrameSize}
	failure := cmp.Or(wire.publish(&m, items), wire.uncork())
	if failure == nil {
		select {
		case <-done:
		case said, ok := <-k.failed:
			failure = rabbit.ErrClosed
			if ok && said != nil {
				failure = said
			}
		case <-ctx.Done():
			failure = ctx.Err()
		}
	}
	n, refused := wire.arrived() // what has been confirmed counts, whatever else has happened
	if n == len(items) {
		return n, nil
	}
	if refused && failure == nil {
		failure = errors.New("the broker could not take it")
	}
	return n, k.leave(failure)
}

// closeWith closes the connection when ctx ends before the function is called that it returns.
func (k *sink) closeWith(ctx context.Context) func() bool {
	wire := k.wire // the sink's own is gone when it has left the connection
	return context.AfterFunc(ctx, func() { _ = wire.Close() })
}

// connect makes sure of a channel on which what is published to is declared.
func (k *sink) connect(ctx context.Context) error {
	if k.channel != nil && !k.channel.IsClosed() {
		return nil
	}
	_ = k.leave(nil)
	uri, err := rabbit.ParseURI(k.s.URL)
	if err != nil {
		return err
	}
	c := rabbit.Config{Heartbeat: heartbeat, Properties: rabbit.Table{"product": "turnbuckle", "connection_name": "turnbuckle amqp"}}
	c.Dial = func(network, _ string) (net.Conn, error) { return k.dial(ctx, network, uri) }
	address := k.s.URL
	if uri.Scheme == "amqps" { // the link lies above TLS, of which the library then need not know
		address = "amqp" + address[len(uri.Scheme):]
	}
	if k.conn, err = rabbit.DialConfig(address, c); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer k.closeWith(ctx)()
	if k.channel, err = k.conn.Channel(); err == nil {
		k.failed = k.channel.NotifyClose(make(chan *rabbit.Error, 1))
		err = k.declare()
	}
	if err == nil {
		err = k.channel.Confirm(false)
	}
	if err != nil {
		return fmt.Errorf("declare exchange %s: %w", k.s.Exchange.Name, k.leave(err))
	}
	return nil
}

// dial connects to the broker, with TLS where its URL says so.
func (k *sink) dial(ctx context.Context, network string, uri rabbit.URI) (net.Conn, error) {
	d := net.Dialer{KeepAlive: heartbeat}
	conn, err := d.DialContext(ctx, network, net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port)))
	if err != nil {
		return nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil { // of the handshakes; the library takes it away
			return nil, errors.Join(err, conn.Close())
		}
	}
	if uri.Scheme == "amqps" {
		c := k.tls.Clone()
		c.ServerName = cmp.Or(c.ServerName, uri.Host)
		secured := tls.Client(conn, c)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		conn = secured
	}
	k.wire = newLink(conn)
	return k.wire, nil
}

// declare makes what is published to, if the broker has it not.
func (k *sink) declare() error {
	e, b := &k.s.Exchange, &k.s.Bind
	var errs []error
	if *e.Declare {
		errs = append(errs, k.channel.ExchangeDeclare(e.Name, e.Type, true, false, false, false, nil))
	}
	if b.Queue != "" && errors.Join(errs...) == nil {
		_, err := k.channel.QueueDeclare(b.Queue, true, false, false, false, nil)
		if err == nil {
			err = k.channel.QueueBind(b.Queue, b.Key, e.Name, false, nil)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// leave closes what there is and returns why it had to: the broker's word, where it gave one, before what came of it.
func (k *sink) leave(why error) error {
	if k.channel != nil {
		select {
		case said := <-k.failed:
			if said != nil && why != nil {
				why = said
			}
		default:
		}
	}
	if k.conn != nil {
		_ = k.conn.CloseDeadline(time.Now().Add(time.Second)) // it has failed, or everything is confirmed
	}
	if k.wire != nil {
		_ = k.wire.Close() // it is closed already, unless the broker did not listen
	}
	k.wire, k.conn, k.channel, k.failed = nil, nil, nil, nil
	return why
}

// Close implements [ship.Sink].
func (k *sink) Close() error { return k.leave(nil) }
