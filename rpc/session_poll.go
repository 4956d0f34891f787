package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/wire"
)

// waiter is what a caller waits for.
type waiter interface{ ready() bool }

const (
	// spinsPerLook is how often a spinning caller looks at the clock and at
	// its context.
	spinsPerLook = 64
	// followerSpins is how long a caller spins while another polls.
	followerSpins = 256
	// adaptiveSpin is how long WaitAdaptive spins before it parks.
	adaptiveSpin = int64(50 * time.Microsecond)
)

// await waits until w is ready; the caller polls the link for everybody, or
// sleeps while another does. It returns early with the context's error.
func (s *session) await(ctx context.Context, bed *bedside, w waiter) error {
	for spins := 0; !w.ready(); spins++ {
		if s.recvMu.TryLock() {
			err := s.lead(ctx, w)
			s.recvMu.Unlock()
			s.lot.promote()
			return err
		}
		if spins < followerSpins && s.restless {
			sched.Pause()
			continue
		}
		if err := s.follow(ctx, bed, w); err != nil {
			return err
		}
	}
	return nil
}

// lead polls until w is ready or the context ends, holding recvMu.
func (s *session) lead(ctx context.Context, w waiter) error {
	done := ctx.Done()
	idleSince, yielded := int64(0), false
	for spins := 1; ; spins++ {
		if n := s.pollOnce(); n > 0 {
			if w.ready() {
				return nil
			}
			spins, idleSince, yielded = 0, 0, false
			continue
		} else if n < 0 && w.ready() {
			return nil // the end of the link ends every call
		}
		if spins%spinsPerLook == 0 || !s.restless {
			now := clock()
			if now >= s.due.Load() {
				s.expire(now)
			}
			if s.unflushed.Load() {
				s.flushRest()
			}
			if w.ready() {
				return nil
			}
			select {
			case <-done:
				return ctx.Err()
			default:
			}
			if idleSince == 0 {
				idleSince = now
			}
			if !s.restless || s.conn.opts.Wait == WaitAdaptive && now-idleSince > adaptiveSpin {
				if !yielded && s.lot.waiting.Load() > 0 {
					// Those whose answers came just now are about to call
					// again, perhaps on this thread's P, which a system call
					// keeps from them for a while.
					yielded = true
					runtime.Gosched()
					continue
				}
				yielded = false
				s.park(ctx, now)
				continue
			}
		}
		sched.Pause()
	}
}

// pollOnce takes what has arrived and returns how much; -1 when the link is
// lost.
func (s *session) pollOnce() int {
	if s.closed {
		s.die(link.ErrClosed)
		return -1
	}
	// Looking behind the last vesicle there is costs as much as the vesicle's
	// way; see the engine's turn, which does the same.
	n, err := s.link.Poll(s.in[:s.want])
	if s.burst += n; n == s.want {
		s.want = min(2*s.want, pollBatch)
	} else if n == 0 && s.burst != 0 {
		s.want, s.burst = min(s.burst, pollBatch), 0
	}
	for i := range s.in[:n] {
		s.receive(&s.in[i])
	}
	if n > 0 {
		_ = s.link.Release(n)
		return n
	}
	if err != nil {
		s.die(err)
		return -1
	}
	return 0
}

// glancePace is how long a link may go without a look at its end.
const glancePace = int64(time.Millisecond)

// glance looks, now and then, for the link's end and for what its server says,
// before something is sent: a loss that is found beforehand costs that nothing,
// and who only sends would find it never.
func (s *session) glance() {
	now := clock()
	if now-s.glanced.Load() < glancePace {
		return
	}
	s.glanced.Store(now)
	if !s.recvMu.TryLock() {
		return // somebody polls
	}
	s.pollRest()
	s.recvMu.Unlock()
	s.lot.promote()
}

// receive acts on one vesicle.
func (s *session) receive(v *wire.Vesicle) {
	if v.Header.Flags&wire.FlagFragment != 0 && !s.assemble(v) {
		return
	}
	h := &v.Header
	p := s.table.find(h.Correlation)
	switch h.Kind {
	case wire.KindReply, wire.KindError:
		s.complete(p, h, v.Payload)
	case wire.KindStreamItem, wire.KindEvent, wire.KindCredit:
		// The stream can't be freed meanwhile: its slot is seized.
		if !p.seize(h.Correlation) {
			s.conn.counts.late.Add(1)
			return
		}
		if p.fingerprint == h.Fingerprint && p.stream != nil {
			s.streamed(p, h, v.Payload)
		}
		if p.answered || p.err != nil {
			p.finish()
			return
		}
		st := p.stream
		p.word.Store(word(p.id, phaseWaiting))
		p.rouse(st)
	}
}

// complete ends the call that an answer belongs to.
func (s *session) complete(p *pending, h *wire.Header, payload []byte) {
	if !p.seize(h.Correlation) {
		if h.Correlation == 0 && h.Kind == wire.KindError { // of no call: it drains
			s.drains(remoteError(nil, payload))
			return
		}
		s.conn.counts.late.Add(1)
		s.table.adopt(p, h.Correlation)
		return
	}
	switch {
	case p.fingerprint != h.Fingerprint:
		// No answer to what was asked: the peer is confused or hostile.
		s.conn.counts.late.Add(1)
		p.word.Store(word(p.id, phaseWaiting))
		return
	case h.Kind == wire.KindError:
		e := remoteError(p.method, payload)
		s.drains(e)
		p.err = e
	case p.stream != nil:
		p.stream.replied(payload)
	case p.reply != nil:
		if err := p.reply.DecodeCell(payload); err != nil {
			p.err = failure(p.method, wire.StatusInternal, err, "the reply can't be read")
		}
	}
	p.answered = true
	if p.stream != nil {
		p.stream.ended(p.err)
	}
	p.finish()
}

// assemble puts pieces together; true means that v is whole now.
func (s *session) assemble(v *wire.Vesicle) bool {
	if s.whole == nil {
		r, err := link.NewReassembler(link.ReassemblyLimits{Message: s.conn.opts.MaxReply})
		if err != nil {
			return false // MaxReply was checked
		}
		s.whole = r
	}
	first := binary.LittleEndian.Uint32(v.Payload[4:]) == 0 // Poll has checked the length
	head := v.Header
	whole, err := s.whole.Add(v, clock())
	if err != nil && first && errors.Is(err, link.ErrTooLarge) {
		s.tooLarge(&head)
	}
	return whole && err == nil
}

// tooLarge ends a call whose answer exceeds the limit.
func (s *session) tooLarge(h *wire.Header) {
	p := s.table.find(h.Correlation)
	if !p.seize(h.Correlation) {
		s.conn.counts.late.Add(1)
		return
	}
	p.err = failure(p.method, wire.StatusTooLarge, nil, "the answer has more than the %d bytes that this connection takes (MaxReply)", s.conn.opts.MaxReply)
	p.answered = h.Kind == wire.KindReply
	if p.stream != nil {
		p.stream.ended(p.err)
	}
	p.finish()
}

// expire ends the calls whose time is up and finds out when to look again. It
// needs no lock of its own: a slot is seized or left alone.
func (s *session) expire(now int64) {
	s.due.Store(noDeadline)
	next := noDeadline
	for i := range s.table.slots[:s.table.high.Load()] {
		p := &s.table.slots[i]
		w := p.word.Load()
		if w&phaseMask != phaseWaiting || !p.seize(uint32(w>>3)) {
			continue
		}
		if p.due > now {
			next = min(next, p.due)
			p.word.Store(w)
			continue
		}
		p.err = failure(p.method, wire.StatusDeadlineExceeded, nil, "no answer in time; it may have been executed")
		if p.stream != nil {
			p.stream.ended(p.err)
		}
		p.finish()
	}
	for {
		old := s.due.Load()
		if next >= old || s.due.CompareAndSwap(old, next) {
			return
		}
	}
}

// pollRest takes all that has arrived, and the link's end behind it if that is
// there, holding recvMu.
func (s *session) pollRest() {
	if !s.closed {
		_ = s.link.CheckPeer() // Poll tells what it found
	}
	for s.pollOnce() > 0 {
	}
}

// die ends the session: every call under way was sent, so it may have been
// executed. It may be called by anyone, often.
func (s *session) die(err error) {
	s.dead.CompareAndSwap(nil, &deadLink{err})
	err = s.dead.Load().err
	s.link.Shutdown()
	for i := range s.table.slots[:s.table.high.Load()] {
		p := &s.table.slots[i]
		w := p.word.Load()
		if w&phaseMask != phaseWaiting || !p.seize(uint32(w>>3)) {
			continue
		}
		p.err = failure(p.method, wire.StatusPeerGone, err, "the link was lost; it may have been executed")
		if p.stream != nil {
			p.stream.ended(p.err)
		}
		p.finish()
	}
}

// close frees the link, once nobody is inside.
func (s *session) close() {
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	if s.closed {
		return
	}
	s.pollRest() // answers that nobody has taken yet
	s.die(link.ErrClosed)
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	s.closed = true
	_ = s.link.Close()
	s.bell.close()
}
