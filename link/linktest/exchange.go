package linktest

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// patience bounds a wait: it runs out when nothing has happened for limit.
type patience struct {
	limit time.Duration
	what  string
	spins int
	since time.Time
}

func (s *suite) patience(what string) *patience { return &patience{limit: s.h.Timeout, what: what} }

// idle is called when there was nothing to do.
func (p *patience) idle() error {
	if p.spins++; p.spins < 200 {
		runtime.Gosched()
		return nil
	}
	if err := p.expired(); err != nil {
		return err
	}
	time.Sleep(20 * time.Microsecond)
	return nil
}

func (p *patience) expired() error {
	if p.since.IsZero() {
		p.since = time.Now()
	} else if time.Since(p.since) > p.limit {
		return fmt.Errorf("no progress for %v: %s", p.limit, p.what)
	}
	return nil
}

func (p *patience) progress() { p.spins, p.since = 0, time.Time{} }

// errStopped ends one side of an exchange because the other failed.
var errStopped = errors.New("linktest: the other side failed")

// exchange moves one stream from a sender to a receiver, each in a goroutine
// of its own, and checks everything that arrives.
type exchange struct {
	s      *suite
	stream stream
	parked bool             // sleep on WaitFDs instead of spinning
	pause  func()           // what the receiver does after each batch; may be nil
	seen   []atomic.Bool    // by number
	left   atomic.Int64     // not seen yet
	sent   atomic.Bool      // the sender has returned
	failed chan struct{}    // closed when a side fails
	once   sync.Once        // closes failed
	out    [64]wire.Vesicle // the sender's
	in     [64]wire.Vesicle // the receiver's
}

func (s *suite) exchange(st stream) *exchange {
	x := &exchange{s: s, stream: st, seen: make([]atomic.Bool, st.count), failed: make(chan struct{})}
	x.stream.batch = min(max(st.batch, 1), len(x.out))
	x.left.Store(int64(st.count))
	return x
}

// transfer moves st from a to b.
func (s *suite) transfer(a, b link.Link, st stream) {
	s.Helper()
	s.must(s.exchange(st).run(a, b))
}

func (x *exchange) run(a, b link.Link) error {
	return together(func() error { return x.send(a) }, func() error { return x.receive(b) })
}

// together runs fs at once and returns the first error that says more than
// that somebody else failed.
func together(fs ...func() error) error {
	errs := make([]error, len(fs))
	var wg sync.WaitGroup
	for i, f := range fs {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	var stopped error
	for _, err := range errs {
		if errors.Is(err, errStopped) {
			stopped = err
		} else if err != nil {
			return err
		}
	}
	return stopped
}

func (x *exchange) fail(err error) error {
	if err != nil {
		x.once.Do(func() { close(x.failed) })
	}
	return err
}

func (x *exchange) stopped() bool {
	select {
	case <-x.failed:
		return true
	default:
		return false
	}
}

// send sends everything, and over a lossy link repeats what has not arrived.
func (x *exchange) send(l link.Link) error {
	defer x.sent.Store(true)
	todo := make([]int, x.stream.count)
	for i := range todo {
		todo[i] = i
	}
	if err := x.sendAll(l, todo); err != nil {
		return x.fail(fmt.Errorf("sender: %w", err))
	}
	p := x.s.patience("what was lost is sent again, but does not arrive")
	for before := x.left.Load(); x.s.h.Lossy && x.left.Load() > 0 && !x.stopped(); {
		time.Sleep(5 * time.Millisecond)
		if now := x.left.Load(); now != before {
			before = now
			p.progress()
			continue
		}
		if err := p.expired(); err != nil {
			return x.fail(fmt.Errorf("sender: %w", err))
		}
		todo = todo[:0]
		for i := range x.seen {
			if !x.seen[i].Load() {
				todo = append(todo, i)
			}
		}
		if err := x.sendAll(l, todo); err != nil {
			return x.fail(fmt.Errorf("sender: %w", err))
		}
	}
	return nil
}

func (x *exchange) sendAll(l link.Link, todo []int) error {
	p := x.s.patience(fmt.Sprintf("waiting for room to send the first of %d vesicles", len(todo)))
	for len(todo) > 0 {
		batch := todo[:min(len(todo), x.stream.batch)]
		size := 0
		for _, i := range batch {
			size = max(size, x.stream.size(i))
		}
		n, err := l.Claim(x.out[:len(batch)], size)
		if errors.Is(err, link.ErrFull) {
			if n != 0 {
				return fmt.Errorf("Claim returned %d with %w", n, err)
			}
			if err := x.waitForSpace(l, size, p); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("Claim(%d vesicles, %d bytes): %w", len(batch), size, err)
		}
		if n < 1 || n > len(batch) {
			return fmt.Errorf("Claim of %d returned %d without an error", len(batch), n)
		}
		if err := x.commit(l, batch[:n], size); err != nil {
			return err
		}
		p.progress()
		todo = todo[n:]
		if err := x.flush(l, p); err != nil {
			return err
		}
	}
	return x.flush(l, p)
}

// commit fills what was claimed for the vesicles batch.
func (x *exchange) commit(l link.Sender, batch []int, size int) error {
	out := x.out[:len(batch)]
	for k, i := range batch {
		if len(out[k].Payload) != size {
			return fmt.Errorf("claimed %d bytes, got %d", size, len(out[k].Payload))
		}
		out[k].Payload = out[k].Payload[:x.stream.size(i)]
		fill(out[k].Payload, i)
		out[k].Header = x.stream.headerOf(i)
		out[k].Header.Length = 0xffffffff // Commit fills it in
	}
	if err := l.Commit(out); err != nil {
		return fmt.Errorf("Commit(%d): %w", len(out), err)
	}
	return nil
}

func (x *exchange) flush(l link.Link, p *patience) error {
	for {
		err := l.Flush()
		if err == nil {
			return nil
		}
		if !errors.Is(err, link.ErrFull) {
			return fmt.Errorf("Flush: %w", err)
		}
		if err := x.idleSending(p); err != nil {
			return err
		}
	}
}

func (x *exchange) idleSending(p *patience) error {
	if x.stopped() {
		return errStopped
	}
	return p.idle()
}

func (x *exchange) waitForSpace(l link.Link, size int, p *patience) error {
	if err := l.Flush(); err != nil && !errors.Is(err, link.ErrFull) {
		return fmt.Errorf("Flush: %w", err)
	}
	if !x.parked {
		return x.idleSending(p)
	}
	if x.stopped() {
		return errStopped
	}
	if !l.ArmSpace(size) {
		return p.idle() // room already, or an end that Claim will tell of
	}
	woken, err := x.sleep(l)
	l.DisarmSpace()
	if err == nil && !woken {
		err = errors.New("ArmSpace: slept until the time was up; a wake-up was lost, or the receiver stands still")
	}
	if err != nil {
		return err
	}
	return p.expired()
}

// receive checks what arrives until everything has.
func (x *exchange) receive(l link.Link) error {
	p := x.s.patience("")
	next := 0
	for x.left.Load() > 0 {
		n, err := l.Poll(x.in[:x.stream.batch])
		if err != nil {
			return x.fail(fmt.Errorf("receiver: Poll before vesicle %d of %d: %w", next, x.stream.count, err))
		}
		if n == 0 {
			if x.stopped() {
				return errStopped
			}
			p.what = fmt.Sprintf("receiver waits for vesicle %d of %d; %d are missing", next, x.stream.count, x.left.Load())
			if err := x.idleReceiving(l, p); err != nil {
				return x.fail(err)
			}
			continue
		}
		p.progress()
		for k := range x.in[:n] {
			if err := x.arrived(&x.in[k], next); err != nil {
				return x.fail(fmt.Errorf("receiver: %w", err))
			}
			next++
		}
		if err := l.Release(n); err != nil {
			return x.fail(fmt.Errorf("receiver: Release(%d): %w", n, err))
		}
		if x.pause != nil {
			x.pause()
		}
	}
	if x.s.h.Lossy {
		return x.fail(x.rest(l))
	}
	return nil
}

// rest takes what was sent more than once, so that it is not in the way of
// the next stream. It sleeps between looks, and counts them instead of the time:
// whoever moves what is under way needs the processor, of which a busy host may
// give none while time goes by.
func (x *exchange) rest(l link.Receiver) error {
	const look = time.Millisecond
	for quiet := time.Duration(0); quiet < settle; quiet += look {
		n, err := l.Poll(x.in[:])
		if err == nil && n > 0 {
			err = l.Release(n)
		}
		if err != nil {
			return fmt.Errorf("receiver: after the last vesicle: %w", err)
		}
		if n > 0 || !x.sent.Load() {
			quiet = 0
		}
		time.Sleep(look)
	}
	return nil
}

// arrived checks one vesicle; next is its number on a link that keeps order.
func (x *exchange) arrived(v *wire.Vesicle, next int) error {
	i := next
	if x.s.h.Lossy || x.s.h.Unordered {
		i = int(v.Header.Correlation)
	}
	if i >= x.stream.count {
		return fmt.Errorf("a vesicle too many, or one that nobody sent: %+v", v.Header)
	}
	if err := x.stream.check(v, i); err != nil {
		return err
	}
	if x.seen[i].Swap(true) {
		if x.s.h.Lossy {
			return nil // sent twice because the first looked lost
		}
		return fmt.Errorf("vesicle %d arrives twice", i)
	}
	x.left.Add(-1)
	return nil
}

func (x *exchange) idleReceiving(l link.Link, p *patience) error {
	if !x.parked {
		return p.idle()
	}
	if !l.Arm() {
		return p.idle()
	}
	woken, err := x.sleep(l)
	l.Disarm()
	if err == nil && !woken {
		err = fmt.Errorf("Arm: slept until the time was up; a wake-up was lost, or the sender stands still: %s", p.what)
	}
	if err != nil {
		return err
	}
	return p.expired()
}
