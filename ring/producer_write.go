package ring

import (
	"github.com/cell-runtime/cell/wire"
	"sync/atomic"
)

// Write copies vesicles into the ring and publishes them: what Claim, a copy
// of each payload, Commit and Flush do, in one pass and with a fraction of the
// bookkeeping, because nothing is handed out in between. It is the fastest way
// for payloads that exist already; who makes them anew writes them in place
// with Claim. Each vesicle's length is len(Payload), whatever its Header.Length
// says, and the ring keeps nothing of vs.
//
// Payloads of 40 bytes are fastest, and shorter ones in slices whose capacity is
// exactly 40: that declares that all 40 bytes may be copied at once, so that the
// peer can see what lies between length and capacity there. Of other slices it
// never sees more than their length.
//
// n is how many vesicles were written, in order, and published; fewer than
// len(vs) with a nil error means that the ring is full after those. What was
// committed before is published with them. Errors: ErrOrder while claims are
// outstanding, ErrFull, ErrClosed, ErrPeerGone, each with n = 0; ErrTooLarge,
// ErrCorrupt, behind the n vesicles that were written before it was seen.
func (p *Producer) Write(vs []wire.Vesicle) (n int, err error) {
	pos := p.flushed
	// The conditions stand here and not in a function: inlined, that would
	// leave a variable for each, set to true or false and then compared.
	if len(vs) != 1 || pos < p.claim || pos+line >= p.marked || atomic.LoadUint32(&p.state.reason) != 0 || !fillsLine(vs[0].Payload) {
		return p.write(vs)
	}
	// What most calls with one vesicle have: it fits a line, nothing is
	// claimed or committed before it, and the end mark behind it is there, which
	// says that there is room, too. There is one record, so its own commit word publishes it.
	r := p.data.line(pos & p.mask)
	r.putHeader(&vs[0].Header)
	r.fill(unsafeStart(vs[0].Payload))
	size := len(vs[0].Payload)
	storeRelease64(&r.start, lineStart(uint32(size)))
	p.flushed = pos + line // commit, claim and stats lag behind: settle
	if size != onePayload {
		p.short += uint64(onePayload - size)
	}
	if m := p.marked; m < pos+line+markLines && m < p.limit {
		*p.data.word(m & p.mask) = 0
		p.marked = m + line
	}
	if p.wake.wanted() || p.owned < pos+line+ownLeast {
		p.afterLine()
	}
	return 1, nil
}

// afterLine does what a single line makes necessary once in a while.
//
//go:noinline
func (p *Producer) afterLine() {
	p.wake.afterPublish()
	if p.owned < p.flushed+ownLeast {
		*p.tail = p.flushed
		p.own(p.flushed, line)
	}
}

// write is Write for all other calls. It is kept out of Write, which a profile
// then lets the compiler inline.
//
//go:noinline
func (p *Producer) write(vs []wire.Vesicle) (n int, err error) {
	p.settle()
	if p.open != 0 {
		return 0, ErrOrder
	}
	if err := p.state.err(); err != nil {
		return 0, err
	}
	for n < len(vs) {
		if p.commit != p.flushed { // the first word is held back, by invariant P
			if got := p.writeLines(vs[n:]); got > 0 {
				n += got
				continue
			}
		}
		if err = p.writeOne(&vs[n]); err != nil {
			break
		}
		n++
	}
	if flushed := p.Flush(); err == nil {
		err = flushed
	}
	if err != nil {
		return n, p.written(n, err)
	}
	return n, nil
}

// written returns what Write says when err kept it from writing all.
func (p *Producer) written(n int, err error) error {
	if err != ErrFull {
		return err
	}
	if n > 0 {
		return nil
	}
	p.stats.Full++
	return err
}

// writeLines writes the vesicles at the front of vs that fit a line each, as
// far as the memory is in one piece and known to be free.
func (p *Producer) writeLines(vs []wire.Vesicle) int {
	off := p.commit & p.mask
	free := min(p.limit-p.commit, p.size-off) / line
	n, bytes := p.data.writeLines(off, vs[:min(uint64(len(vs)), free)])
	p.commit += uint64(n) * line
	p.claim = p.commit
	p.stats.Records += uint64(n)
	p.stats.Bytes += bytes
	return n
}

// writeOne writes a vesicle of any size.
func (p *Producer) writeOne(v *wire.Vesicle) error {
	size := len(v.Payload)
	if size > p.max {
		return ErrTooLarge
	}
	span := spanOf(size)
	off := p.commit & p.mask
	if off+span > p.size || p.commit+span > p.limit {
		if err := p.makeRoom(span); err != nil {
			return err
		}
		off = p.commit & p.mask
	}
	h := v.Header
	h.Length = uint32(size)
	h.Put(p.data.header(off))
	Copy(p.data.payload(off+shiftOf(span), size), v.Payload)
	p.seal(off, uint32(span)|stateReady)
	p.commit += span
	p.claim = p.commit
	p.stats.Records++
	p.stats.Bytes += uint64(size)
	return nil
}

// makeRoom sees to it that span bytes lie free and in one piece at p.commit:
// it asks the reader's cursor and pads to the end of the memory.
func (p *Producer) makeRoom(span uint64) error {
	off, pad := p.commit&p.mask, uint64(0)
	if off+span > p.size {
		pad = p.size - off // a record never wraps
	}
	if p.commit+pad+span > p.limit {
		if err := p.refresh(); err != nil {
			return err
		}
		if p.commit+pad+span > p.limit {
			return ErrFull
		}
	}
	if pad != 0 {
		p.seal(off, uint32(pad)|statePadding)
		p.commit += pad
		p.claim = p.commit
	}
	return nil
}
