package quic

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/wire"
)

// receiver is the incoming half of a link: a ring of this process, into which
// a goroutine for each lane writes and from which the link's user polls. The
// ring bounds what waits; when it is full the lanes stop reading, and then
// QUIC's flow control stops the peer.
type receiver struct {
	memory *ring.Memory
	bell   bell           // of the user, who sleeps until something arrives
	out    *ring.Consumer // the user's
	max    int

	mu      sync.Mutex
	space   *sync.Cond // of mu: the user has released something, or the end came
	in      *ring.Producer
	closed  bool         // nothing more goes into the ring
	waiting atomic.Int32 // lanes that wait for space
	freed   atomic.Uint32

	published atomic.Uint64 // vesicles written into the ring
	polled    uint64        // and taken from it by the user

	costs   costs // of what was polled and not released
	owed    int64 // credit that the peer has not been told of
	quota   int64 // when it is told
	corrupt atomic.Uint32
	dropped atomic.Uint64
}

func (r *receiver) open(size, max int) error {
	m, err := ring.Create(ring.Options{Size: size, Name: "quic"})
	if err != nil {
		return fmt.Errorf("quic: memory for what arrives: %w", err)
	}
	r.memory, r.max = m, max
	r.space = sync.NewCond(&r.mu)
	if err = r.bell.open(); err != nil {
		return errors.Join(err, m.Close())
	}
	if r.out, err = ring.NewConsumer(m, nil, nil); err == nil {
		r.in, err = ring.NewProducer(m, nil, nil)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("quic: %w", err), r.close())
	}
	return nil
}

// close frees the ring. The user has left.
func (r *receiver) close() error {
	r.shut()
	return errors.Join(r.bell.close(), r.memory.Close())
}

// shut keeps the lanes out of the ring from now on.
func (r *receiver) shut() {
	r.mu.Lock()
	r.closed = true
	r.space.Broadcast()
	r.mu.Unlock()
}

// poll is the user's.
func (r *receiver) poll(in []wire.Vesicle) (int, error) {
	n, err := r.out.Poll(in)
	r.polled += uint64(n)
	return n, err
}

// arm announces that the user wants to sleep, and returns false if there is
// something to poll. The mark comes before the look here, and put counts before
// it looks for the mark: one of the two sees the other.
func (r *receiver) arm() bool {
	r.bell.armed.Store(true)
	if r.published.Load() == r.polled {
		return true
	}
	r.bell.armed.Store(false)
	return false
}

// stop ends the user's side and wakes the user.
func (r *receiver) stop(gone bool) {
	r.out.Stop(gone)
	r.bell.ring()
}

// put copies vesicles into the ring, as many as there is room for, and wakes
// the user if one sleeps.
func (r *receiver) put(vs []wire.Vesicle) (n int, err error) {
	n, err = r.in.Write(vs)
	if n > 0 {
		r.published.Add(uint64(n))
		r.bell.notify()
	}
	return n, err
}

// deliver copies vesicles into the ring, and waits while it is full. It
// returns false when nobody wants them any more.
func (r *receiver) deliver(vs []wire.Vesicle) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(vs) > 0 {
		if r.closed {
			return false
		}
		n, err := r.put(vs)
		if vs = vs[n:]; n > 0 || err == nil {
			continue
		}
		if !errors.Is(err, ring.ErrFull) {
			return false
		}
		// The mark comes before the last look, and Release's looks come in the
		// reverse order, each with a locked instruction in between, so one of
		// the two sees the other.
		r.waiting.Add(1)
		if n, err = r.put(vs); err != nil {
			r.space.Wait()
		}
		vs = vs[n:]
		r.waiting.Add(-1)
	}
	return true
}

// offer is deliver for datagrams: what finds no room is lost.
func (r *receiver) offer(v []wire.Vesicle) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	if n, _ := r.put(v); n == 0 {
		r.dropped.Add(1)
	}
}

func (r *receiver) release(n int) error {
	if n < 0 {
		return link.ErrOrder
	}
	if err := r.out.Release(n); err != nil {
		return err
	}
	r.owed += r.costs.take(n)
	r.freed.Add(1) // a full fence; see deliver
	if r.waiting.Load() > 0 {
		r.mu.Lock()
		r.space.Broadcast()
		r.mu.Unlock()
	}
	return nil
}

const (
	firstBuffer = 16 << 10
	readBatch   = 32
)

// reader reads one lane.
type reader struct {
	r          *receiver
	buf        []byte
	start, end int
	batch      [readBatch]wire.Vesicle
}

// read delivers what comes from in until it ends: with nil at the stream's
// end, link.ErrCorrupt if it breaks the protocol, or the stream's error.
func (r *receiver) read(in io.Reader) error {
	d := &reader{r: r, buf: make([]byte, min(firstBuffer, 2*(r.max+frameSize)))}
	for {
		n, need, err := d.parse()
		if n > 0 && !r.deliver(d.batch[:n]) {
			return link.ErrClosed
		}
		if err != nil {
			r.corrupt.Add(1)
			return err
		}
		if n > 0 {
			continue
		}
		d.makeRoom(need)
		got, err := in.Read(d.buf[d.end:])
		d.end += got
		if err != nil && got == 0 { // what came with it is read first; it comes again
			return d.ended(err)
		}
	}
}

func (d *reader) ended(err error) error {
	switch {
	case !errors.Is(err, io.EOF):
		return err
	case d.start != d.end:
		d.r.corrupt.Add(1)
		return fmt.Errorf("%w: a lane ends in the middle of a vesicle", link.ErrCorrupt)
	}
	return nil
}

// parse takes whole frames from the buffer. need is how long the next one is,
// as far as that is known.
func (d *reader) parse() (n, need int, err error) {
	for n < len(d.batch) {
		need = frameSize
		if d.end-d.start < need {
			break
		}
		h, err := wire.Decode(d.buf[d.start:d.end])
		if err == nil && int64(h.Length) > int64(d.r.max) {
			err = fmt.Errorf("payload of %d bytes, at most %d were agreed", h.Length, d.r.max)
		}
		if err != nil {
			return n, 0, fmt.Errorf("%w: the peer sent bytes that are no vesicle: %w", link.ErrCorrupt, err)
		}
		if need += int(h.Length); d.end-d.start < need {
			break
		}
		at := d.start + frameSize
		d.start += need
		d.batch[n] = wire.Vesicle{Header: h, Payload: d.buf[at:d.start:d.start]}
		n++
	}
	return n, need, nil
}

// makeRoom moves what is left to the front and sees to it that a frame of need
// bytes fits. Nothing of the buffer is in use elsewhere.
func (d *reader) makeRoom(need int) {
	if d.start == d.end {
		d.start, d.end = 0, 0
	}
	if len(d.buf)-d.start >= need && len(d.buf)-d.end >= len(d.buf)/4 {
		return
	}
	to := d.buf
	if need > len(to) || need > firstBuffer && len(to) < 2*need {
		to = make([]byte, 2*need)
	}
	d.end = copy(to, d.buf[d.start:d.end])
	d.start, d.buf = 0, to
}
