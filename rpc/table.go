package rpc

import (
	"math/bits"
	"sync/atomic"
)

// A correlation is a slot's index in the low bits and the slot's generation in
// the others, so that an answer finds its call by one load and a comparison,
// and an answer to a former user of the slot finds nobody.
//
// Generations wrap after 2^(32-bits) uses of a slot, 4 million with the
// default table. A slot whose call ended without an answer may still get one,
// so it stays out of use until that has come or no other slot is free.

// correlations says how a table's correlations are cut up.
type correlations struct {
	bits uint
	mask uint32
}

func newCorrelations(inFlight int) correlations {
	n := uint(bits.Len(uint(inFlight - 1)))
	return correlations{bits: n, mask: 1<<n - 1}
}

// next returns the correlation of the next use of a slot, never 0.
func (c correlations) next(id uint32) uint32 {
	index := id & c.mask
	generation := (id>>c.bits + 1) << c.bits
	if generation == 0 {
		generation = 1 << c.bits
	}
	return generation | index
}

// pending is a call under way of a caller-driven connection: a slot of its
// table. word says whose the rest of it is: the owner's while free or done, of
// whoever filled it while filling, and nobody's to write while waiting.
type pending struct {
	word        atomic.Uint64 // id<<3 | phase
	due         int64         // on the session's clock
	fingerprint uint64
	method      *Method
	reply       Decoder
	err         error
	answered    bool          // the peer has ended the call
	stream      *clientStream // nil for unary calls

	id    uint32
	next  uint32  // of the free list: index+1
	sleep bedside // of a unary call's owner
}

// Phases of a pending call.
const (
	phaseFree = iota
	phaseWaiting
	phaseFilling
	phaseDone
	phaseOrphan // nobody waits any more; a late answer may still come
	phaseMask   = 7
)

func word(id uint32, phase uint64) uint64 { return uint64(id)<<3 | phase }

// ready reports whether the call has ended.
func (p *pending) ready() bool { return p.word.Load()&phaseMask == phaseDone }

// seize makes a waiting call the caller's to fill, if it is still that call.
func (p *pending) seize(id uint32) bool {
	return p.word.CompareAndSwap(word(id, phaseWaiting), word(id, phaseFilling))
}

// finish ends a call that was seized, and wakes who waits for it.
func (p *pending) finish() {
	st := p.stream // afterwards the slot is the owner's again
	p.word.Store(word(p.id, phaseDone))
	p.rouse(st)
}

// rouse wakes whoever sleeps for this call, which has st if it is a stream.
func (p *pending) rouse(st *clientStream) {
	p.sleep.wake()
	if st != nil {
		st.sleepReceive.wake()
		st.sleepSend.wake()
	}
}

// bedside is where a goroutine that sleeps can be found.
type bedside struct{ atomic.Pointer[sleeper] }

func (b *bedside) wake() {
	if sl := b.Load(); sl != nil {
		sl.wake()
	}
}

// sleeper is a goroutine that sleeps while another polls the link.
type sleeper struct{ ch chan struct{} }

func newSleeper() *sleeper { return &sleeper{ch: make(chan struct{}, 1)} }

func (s *sleeper) wake() {
	select {
	case s.ch <- struct{}{}:
	default:
	}
}

// callTable is the calls under way of one session. take belongs to whoever
// holds the session's send lock; all else may run at any time.
type callTable struct {
	correlations
	slots []pending
	free  atomic.Uint32 // a stack by pending.next; 0: empty
	high  atomic.Uint32 // slots above have never been used

	// Slots whose call ended without an answer, oldest first; under the send
	// lock. An entry counts only while the slot still has that id.
	orphans []uint32
}

func (t *callTable) init(inFlight int) {
	t.correlations = newCorrelations(inFlight)
	t.slots = make([]pending, 1<<t.bits)
	for i := range t.slots {
		t.slots[i].id = uint32(i)
		t.slots[i].word.Store(word(uint32(i), phaseFree))
	}
}

// take returns a slot under a new id, or nil if all are in use. Its phase is
// still free: the owner fills it in and stores the waiting word.
func (t *callTable) take() *pending {
	for {
		top := t.free.Load()
		if top == 0 {
			break
		}
		// Only one goroutine takes at a time, so the slot on top can't leave
		// and come back between these lines.
		if p := &t.slots[top-1]; t.free.CompareAndSwap(top, p.next) {
			return t.renew(p)
		}
	}
	if n := t.high.Load(); int(n) < len(t.slots) {
		t.high.Store(n + 1)
		return t.renew(&t.slots[n])
	}
	for len(t.orphans) > 0 {
		id := t.orphans[0]
		t.orphans = t.orphans[1:]
		p := &t.slots[id&t.mask]
		if p.word.CompareAndSwap(word(id, phaseOrphan), word(id, phaseFree)) {
			return t.renew(p)
		}
	}
	return nil
}

func (t *callTable) renew(p *pending) *pending {
	p.id = t.correlations.next(p.id)
	return p
}

// give returns the slot of a call that has ended with an answer.
func (t *callTable) give(p *pending) {
	p.reply, p.err, p.stream, p.method, p.answered = nil, nil, nil, nil, false
	p.word.Store(word(p.id, phaseFree))
	t.push(p)
}

// orphan puts the slot of a call that has ended without an answer aside. It
// belongs to whoever holds the send lock.
func (t *callTable) orphan(p *pending) {
	p.reply, p.err, p.stream, p.method = nil, nil, nil, nil
	t.orphans = append(t.orphans, p.id)
	p.word.Store(word(p.id, phaseOrphan))
}

// adopt frees the slot of an orphan whose late answer has come.
func (t *callTable) adopt(p *pending, id uint32) {
	if p.word.CompareAndSwap(word(id, phaseOrphan), word(id, phaseFree)) {
		t.push(p)
	}
}

func (t *callTable) push(p *pending) {
	index := p.id&t.mask + 1
	for {
		top := t.free.Load()
		p.next = top
		if t.free.CompareAndSwap(top, index) {
			return
		}
	}
}

// find returns the slot that a correlation names, whose call may be another.
func (t *callTable) find(correlation uint32) *pending {
	return &t.slots[correlation&t.mask]
}
