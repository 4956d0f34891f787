package rpc

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// broadcastBatch is how many events are claimed, published or polled at once.
const broadcastBatch = 64

// Broadcast publishes events of one topic through a broadcast ring: any number
// of subscribers on the same host read them where they were written, the
// publisher does not notice them, and one that is too slow loses events and is
// told how many. It belongs to one goroutine at a time. How the ring's memory
// reaches subscribers is the program's affair; see [ring.Create].
type Broadcast struct {
	ring   *ring.Publisher
	header wire.Header
	size   int // payload bytes of each place that is claimed
	have   int
	used   int
	vs     [broadcastBatch]wire.Vesicle
}

// NewBroadcast returns a publisher of topic m through r. Errors: ErrArgument.
func NewBroadcast(r *ring.Publisher, m *Method) (*Broadcast, error) {
	if r == nil || m == nil || m.Mode != schema.Topic {
		return nil, fmt.Errorf("%w: NewBroadcast needs a broadcast ring and a topic", ErrArgument)
	}
	return &Broadcast{ring: r, header: wire.Header{Fingerprint: m.Fingerprint, Kind: wire.KindEvent, Hops: replyHops}}, nil
}

// Begin returns a place of size bytes for an event, to be filled in and given
// to Send before the next Begin. Errors: ring.ErrTooLarge, ring.ErrClosed.
func (b *Broadcast) Begin(size int) ([]byte, error) {
	if b.used == b.have || size > b.size {
		if err := b.claim(size); err != nil {
			return nil, err
		}
	}
	return b.vs[b.used].Payload[:size], nil
}

func (b *Broadcast) claim(size int) error {
	if err := b.commit(); err != nil {
		return err
	}
	n, err := b.ring.Claim(b.vs[:], size)
	if errors.Is(err, ring.ErrFull) { // of our own unflushed events
		if err = b.ring.Flush(); err == nil {
			n, err = b.ring.Claim(b.vs[:], size)
		}
	}
	if err != nil {
		return err
	}
	b.size, b.have = size, n
	return nil
}

// Send accepts the event begun, of which n bytes are in use. It reaches
// subscribers with the next Flush, or earlier.
func (b *Broadcast) Send(n int) {
	v := &b.vs[b.used]
	v.Payload = v.Payload[:n]
	setHeader(&v.Header, wire.KindEvent, 0, b.header.Fingerprint, 0)
	b.used++
}

// commit seals what was sent and gives up what was claimed beyond.
func (b *Broadcast) commit() error {
	if b.have == 0 {
		return nil
	}
	used, have := b.used, b.have
	b.used, b.have = 0, 0
	err := b.ring.Commit(b.vs[:used])
	if used < have {
		b.ring.Abort()
	}
	if err == nil && used == have {
		err = b.ring.Flush() // a full batch
	}
	return err
}

// Publish sends a copy of an event. It reaches subscribers with the next
// Flush, or earlier.
func (b *Broadcast) Publish(event Encoder) error {
	place, err := b.Begin(event.SizeCell())
	if err != nil {
		return err
	}
	n, err := event.EncodeCell(place)
	if err == nil {
		b.Send(n)
	}
	return err
}

// Flush makes everything sent visible to subscribers, at the price of one
// ordered store.
func (b *Broadcast) Flush() error {
	if err := b.commit(); err != nil {
		return err
	}
	return b.ring.Flush()
}

// Listener receives events of one topic from a broadcast ring. It belongs to
// one goroutine at a time.
type Listener struct {
	sub         *ring.Subscriber
	fingerprint uint64
	in          [broadcastBatch]wire.Vesicle
	copied      []byte
	buf         []byte // of Receive
}

var _ Subscription = (*Listener)(nil)

// NewListener returns a listener of topic m on s. Errors: ErrArgument.
func NewListener(s *ring.Subscriber, m *Method) (*Listener, error) {
	if s == nil || m == nil || m.Mode != schema.Topic {
		return nil, fmt.Errorf("%w: NewListener needs a subscriber and a topic", ErrArgument)
	}
	return &Listener{sub: s, fingerprint: m.Fingerprint}, nil
}

// Poll hands the next events to f, copies that are intact and valid until f
// returns, and returns how many there were; 0 means none now. It does not
// wait. Errors: those of [ring.Subscriber.Poll] but for ring.ErrLapped, after
// which Lost has grown.
func (l *Listener) Poll(f func(event []byte)) (n int, err error) {
	n, err = l.sub.Poll(l.in[:])
	if n == 0 {
		if errors.Is(err, ring.ErrLapped) {
			err = nil
		}
		return 0, err
	}
	// The publisher may overwrite what is being read, so the batch is copied
	// and then found to be intact, or not.
	l.copied = l.copied[:0]
	for i := range l.in[:n] {
		l.copied = append(l.copied, l.in[i].Payload...)
	}
	if intact, err := l.sub.Release(n); !intact {
		return 0, err
	}
	rest := l.copied
	for i := range l.in[:n] {
		h := &l.in[i].Header
		if h.Fingerprint == l.fingerprint {
			f(rest[:h.Length:h.Length])
		}
		rest = rest[h.Length:]
	}
	return n, nil
}

const (
	listenSpins = 4096
	listenPace  = 50 * time.Microsecond
)

// Receive implements [Subscription]: it waits, spinning for some 50 µs and
// then looking every 50 µs. Errors: those of the ring, or of the event.
func (l *Listener) Receive(event Decoder) error {
	for spins := 0; ; spins++ {
		v, err := l.sub.Receive(l.buf)
		switch {
		case err == nil && v.Header.Fingerprint == l.fingerprint:
			return event.DecodeCell(v.Payload)
		case err == nil, errors.Is(err, ring.ErrLapped):
			continue
		case errors.Is(err, ring.ErrTooLarge):
			l.buf = make([]byte, v.Header.Length)
			continue
		case !errors.Is(err, ring.ErrEmpty):
			return err
		}
		switch {
		case spins < listenSpins:
			sched.Pause()
		case spins == listenSpins:
			runtime.Gosched()
		default:
			time.Sleep(listenPace)
		}
	}
}

// Lost implements [Subscription].
func (l *Listener) Lost() uint64 { return l.sub.Lost() }

// Close implements [Subscription]: it stops the subscriber. The ring's memory
// stays open.
func (l *Listener) Close() error {
	l.sub.Stop(false)
	return nil
}
