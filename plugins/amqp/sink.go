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

	wire    *corked // under connection
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
	k.wire.cork()
	confirms := make([]*rabbit.DeferredConfirmation, 0, len(items))
	var failure error
	for i := range items {
		c, err := k.publish(ctx, &items[i])
		if err != nil {
			failure = err
			break
		}
		confirms = append(confirms, c)
	}
	if err := k.wire.uncork(); err != nil {
		return 0, k.leave(cmp.Or(failure, err))
	}
	for n, c := range confirms {
		acked, err := c.WaitContext(ctx)
		if err == nil && !acked {
			err = errors.New("the broker could not take it")
		}
		if err != nil {
			return n, k.leave(cmp.Or(failure, err))
		}
	}
	if failure != nil {
		return len(confirms), k.leave(failure)
	}
	return len(items), nil
}

// closeWith closes the connection when ctx ends before the function is called that it returns.
func (k *sink) closeWith(ctx context.Context) func() bool {
	wire := k.wire // the sink's own is gone when it has left the connection
	return context.AfterFunc(ctx, func() { _ = wire.Close() })
}

func (k *sink) publish(ctx context.Context, i *ship.Item) (*rabbit.DeferredConfirmation, error) {
	m := rabbit.Publishing{
		ContentType: "application/json", DeliveryMode: rabbit.Persistent, MessageId: k.run + "-" + strconv.FormatUint(i.Seq, 10), AppId: "turnbuckle", Body: i.Body,
	}
	if k.s.Transient {
		m.DeliveryMode = rabbit.Transient
	}
	return k.channel.PublishWithDeferredConfirmWithContext(ctx, k.s.Exchange.Name, string(i.Key[:min(len(i.Key), maxKey)]), false, false, m)
}

// connect makes sure of a channel on which what is published to is declared.
func (k *sink) connect(ctx context.Context) error {
	if k.channel != nil && !k.channel.IsClosed() {
		return nil
	}
	_ = k.leave(nil)
	c := rabbit.Config{Heartbeat: heartbeat, TLSClientConfig: k.tls.Clone(), Properties: rabbit.Table{"product": "turnbuckle", "connection_name": "turnbuckle amqp"}}
	c.Dial = func(network, address string) (net.Conn, error) {
		d := net.Dialer{KeepAlive: heartbeat}
		wire, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		k.wire = &corked{Conn: wire}
		if end, ok := ctx.Deadline(); ok {
			err = wire.SetDeadline(end) // of the handshake; the library takes it away
		}
		return k.wire, err
	}
	var err error
	if k.conn, err = rabbit.DialConfig(k.s.URL, c); err != nil {
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
