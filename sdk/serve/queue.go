package serve

import (
	"time"

	"google.golang.org/grpc/mem"

	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// queue is the calls that wait, first come, first served.
type queue struct {
	jobs []job
	head int
}

func (q *queue) len() int { return len(q.jobs) - q.head }

func (q *queue) add(j job) { q.jobs = append(q.jobs, j) }

func (q *queue) take() job {
	j := q.jobs[q.head]
	q.jobs[q.head] = job{}
	q.head++
	if q.head == len(q.jobs) {
		q.jobs, q.head = q.jobs[:0], 0
	}
	return j
}

// cancel marks the call of that id and reports whether it was there.
func (q *queue) cancel(id uint64) bool {
	for i := q.head; i < len(q.jobs); i++ {
		if q.jobs[i].id == id {
			q.jobs[i].canceled = true
			return true
		}
	}
	return false
}

// clear drops what waits and returns how many that were.
func (q *queue) clear() int {
	n := q.len()
	for q.len() > 0 {
		j := q.take()
		j.frame.Free()
	}
	return n
}

// outbox collects what the next frames to the host say.
type outbox struct {
	pool   mem.BufferPool
	limit  int       // bytes of a frame that hold more than one reply
	full   []*[]byte // frames that are to go before cur
	cur    *[]byte   // nil: nothing yet
	since  time.Time // when the first reply of cur was finished
	acked  uint64
	credit uint32 // to be granted; 0: has been
	drain  bool   // to be told
}

const (
	// frameBytes is how large a frame may grow before the next is begun.
	frameBytes = 256 << 10
	// frameOverhead is what a frame says beside its replies, at most.
	frameOverhead = 64
)

func (o *outbox) dirty() bool { return o.cur != nil || o.credit > 0 || o.drain }

// reply takes a reply that was finished at that time. It copies it.
func (o *outbox) reply(r []byte, at time.Time) {
	if o.cur != nil && len(*o.cur)+len(r) > o.limit {
		o.full = append(o.full, o.cur)
		o.cur = nil
	}
	if o.cur == nil {
		o.cur = o.pool.Get(0)
		o.since = at
	}
	*o.cur = append(*o.cur, r...)
}

// frame returns the next frame, which acknowledges the host's up to ack.
func (o *outbox) frame(ack uint64) message {
	b := o.cur
	switch {
	case len(o.full) > 0:
		b = o.full[0]
		o.full[0] = nil
		o.full = o.full[1:]
	case b == nil:
		b = o.pool.Get(0)
	default:
		o.cur = nil
	}
	if ack > o.acked {
		*b = wire.AppendAck(*b, ack)
		o.acked = ack
	}
	if o.credit > 0 {
		*b = wire.AppendCredit(*b, o.credit)
		o.credit = 0
	}
	if o.drain {
		*b = wire.AppendPluginDrain(*b)
		o.drain = false
	}
	return message{pool: o.pool, memory: b}
}

// framePool keeps the memory of frames. It is a [mem.BufferPool] so that gRPC gives it back once it is written.
type framePool struct{ server *Server }

// Get returns an empty buffer; gRPC's own pools return one of length n, which nobody here asks for.
func (p framePool) Get(int) *[]byte {
	if b, ok := p.server.frames.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, minFrame)
	return &b
}

// Put takes a buffer back.
func (p framePool) Put(b *[]byte) {
	if cap(*b) > 2*frameBytes {
		return
	}
	*b = (*b)[:0]
	p.server.frames.Put(b)
}

// minFrame is large enough for gRPC to give a buffer back rather than leave it to the garbage collector.
const minFrame = 4 << 10
