package link

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/wire"
)

// ErrFragment: a fragment contradicts itself or the vesicle that it belongs
// to, or lies too far from what has arrived. The vesicle is dropped.
var ErrFragment = errors.New("link: fragment does not fit its vesicle")

// The reasons within ErrFragment and ErrTooLarge, made once: a peer that sends
// nonsense must not make its victim allocate.
var (
	errFragmentRange   = fmt.Errorf("%w: %w", ErrFragment, wire.ErrFragment)
	errFragmentHeader  = fmt.Errorf("%w: flags or hops differ from the other pieces, or the whole is no vesicle", ErrFragment)
	errFragmentOverlap = fmt.Errorf("%w: it overlaps another piece", ErrFragment)
	errFragmentContent = fmt.Errorf("%w: a repeated piece has other bytes", ErrFragment)
	errFragmentAhead   = fmt.Errorf("%w: it lies too far ahead of what has arrived (ReassemblyLimits.Ahead)", ErrFragment)
	errFragmentGaps    = fmt.Errorf("%w: too many gaps between the pieces that have arrived", ErrFragment)
	errWholeTooLarge   = fmt.Errorf("%w: a fragmented vesicle announces more than ReassemblyLimits.Message", ErrTooLarge)
)

// ReassemblyLimits bounds what a [Reassembler] spends on its peer. Zero fields
// get the default.
type ReassemblyLimits struct {
	// Message is the most payload bytes of one vesicle; default 16 MiB, at
	// most [wire.MaxLength].
	Message int
	// Memory is the most bytes held at once, over all vesicles under way and
	// the buffers kept for later ones; default and least value 4 × Message.
	Memory int
	// Partial is the most vesicles under way; default 64, at most 1024.
	Partial int
	// Ahead is how many bytes beyond those that have arrived a piece may lie;
	// default 1 MiB. Memory grows with what arrives, not with what is
	// announced, so this is what one piece can make a peer allocate.
	Ahead int
	// Idle is how long a vesicle under way may make no progress; default
	// 10 s.
	Idle time.Duration
	// Budget bounds what several Reassemblers hold together; nil: nothing does.
	// Call Expire of each now and then, and Close when its link ends, lest they
	// keep from each other what they no longer use.
	Budget *ReassemblyBudget
}

const maxPartial = 1024

func (l ReassemblyLimits) filled() (ReassemblyLimits, error) {
	if l.Message == 0 {
		l.Message = 16 << 20
	}
	if l.Partial == 0 {
		l.Partial = 64
	}
	if l.Ahead == 0 {
		l.Ahead = 1 << 20
	}
	if l.Idle == 0 {
		l.Idle = 10 * time.Second
	}
	switch {
	case l.Message < 0 || l.Message > wire.MaxLength:
		return l, fmt.Errorf("link: ReassemblyLimits.Message is %d; it must be 1 to %d bytes", l.Message, wire.MaxLength)
	case l.Partial < 0 || l.Partial > maxPartial:
		return l, fmt.Errorf("link: ReassemblyLimits.Partial is %d; it must be 1 to %d", l.Partial, maxPartial)
	case l.Ahead < 0 || l.Idle < 0:
		return l, errors.New("link: ReassemblyLimits.Ahead and Idle must not be negative")
	}
	// A vesicle that grows needs its old and its new buffer at once, each up
	// to the next power of two.
	least := 4 * max(l.Message, minBuffer)
	if l.Memory == 0 {
		l.Memory = least
	}
	if l.Memory < least {
		return l, fmt.Errorf("link: ReassemblyLimits.Memory is %d; vesicles of %d bytes need at least %d", l.Memory, l.Message, least)
	}
	return l, nil
}

// ReassemblyStats counts what a [Reassembler] did since it was made.
type ReassemblyStats struct {
	Fragments  uint64 // that arrived
	Whole      uint64 // vesicles that were put together
	Duplicates uint64 // pieces that had arrived before and were ignored

	// Vesicles, or single pieces of none, that were dropped because …
	Inconsistent uint64 // … a piece contradicted itself or another one
	Refused      uint64 // … a limit on length, distance or gaps was exceeded
	Expired      uint64 // … they made no progress for ReassemblyLimits.Idle
	Evicted      uint64 // … newer ones needed the place or the memory
}

// Dropped is the sum of the counters of what was dropped.
func (s ReassemblyStats) Dropped() uint64 {
	return s.Inconsistent + s.Refused + s.Expired + s.Evicted
}

// Reassembler puts together what a [Fragmenter] on the other side took apart.
// Pieces may be lost, repeated, or come in any order, and those of several
// vesicles may mingle; what comes out is bit-identical to what went in, or
// nothing comes out and a counter tells. It belongs to the receiver's
// goroutine.
type Reassembler struct {
	limits ReassemblyLimits
	stats  ReassemblyStats
	// partials are the vesicles under way, the one that progressed last at
	// the end: pieces mostly belong to that one, and the front is the one to
	// give up. There are few, so that a scan beats a map.
	partials []*partial
	spare    []*partial
	buffers  buffers
	last     []byte // buffer of the vesicle that Add returned last
	lastAt   int64  // when a piece arrived last
}

// NewReassembler returns a Reassembler that keeps to limits. It takes memory
// as pieces arrive.
func NewReassembler(limits ReassemblyLimits) (*Reassembler, error) {
	limits, err := limits.filled()
	if err != nil {
		return nil, err
	}
	return &Reassembler{limits: limits, buffers: buffers{limit: limits.Memory, shared: limits.Budget}}, nil
}

// Idle returns the limit of that name, after which Expire has something to do.
func (r *Reassembler) Idle() time.Duration { return r.limits.Idle }

// Add takes a polled vesicle. If it is not a fragment, Add returns true and
// leaves v as it is. If it is the piece that completes a vesicle, Add returns
// true and puts the whole into v, with the header that was given to the
// sender; that payload may be read and written until the next Add, Expire or
// Reset, or for ever after [Reassembler.Keep]. Otherwise Add returns false and
// v has nothing for the caller.
//
// Pieces are copied, so v may be released right after Add. An error,
// [ErrFragment], [ErrTooLarge] or [ErrBudget], says that a vesicle was dropped and why;
// on a link that neither loses nor mixes up anything it means that the peer
// broke the protocol.
//
// now is the time in nanoseconds of any clock that doesn't go backwards.
func (r *Reassembler) Add(v *wire.Vesicle, now int64) (whole bool, err error) {
	if v.Header.Flags&wire.FlagFragment == 0 {
		return true, nil
	}
	return r.add(v, now)
}

// Keep leaves the payload that Add returned last to the caller. Without it
// the memory serves again.
func (r *Reassembler) Keep() {
	r.buffers.forget(r.last)
	r.last = nil
}

// Expire drops vesicles that have made no progress for long, and gives up
// spare memory after a time without fragments. Add does the former by itself
// whenever a fragment arrives.
func (r *Reassembler) Expire(now int64) {
	r.recycle()
	r.expire(now)
	if len(r.partials) == 0 && now-r.lastAt >= int64(r.limits.Idle) {
		r.buffers.shrink()
	}
}

// Reset drops everything under way, as after a reconnect. It counts as
// Expired.
func (r *Reassembler) Reset() {
	r.recycle()
	for len(r.partials) > 0 {
		r.stats.Expired++
		r.drop(r.partials[0])
	}
}

// Close drops everything and gives up all memory, also of the payload that Add
// returned last unless it was kept.
func (r *Reassembler) Close() {
	r.Reset()
	r.buffers.shrink()
}

// Stats returns the counters.
func (r *Reassembler) Stats() ReassemblyStats { return r.stats }

// Pending returns how many vesicles are under way and how many bytes of memory
// are held, spare buffers included.
func (r *Reassembler) Pending() (vesicles, memory int) { return len(r.partials), r.buffers.held }

func (r *Reassembler) add(v *wire.Vesicle, now int64) (bool, error) {
	r.recycle()
	r.expire(now)
	r.lastAt = now
	r.stats.Fragments++
	if len(v.Payload) < wire.FragmentSize {
		r.stats.Inconsistent++
		return false, errFragmentRange
	}
	data := v.Payload[wire.FragmentSize:]
	prefix, err := wire.GetFragment((*[wire.FragmentSize]byte)(v.Payload), len(data))
	if err != nil {
		r.stats.Inconsistent++
		return false, errFragmentRange
	}
	key := partialKey{
		fingerprint: v.Header.Fingerprint, correlation: v.Header.Correlation,
		sequence: prefix.Sequence, kind: v.Header.Kind, channel: v.Header.Channel,
	}
	p := r.find(key)
	if p == nil {
		if p, err = r.start(key, v.Header, prefix.Total); err != nil {
			return false, err
		}
	}
	fresh, err := r.place(p, v.Header, prefix, data)
	if err != nil {
		r.drop(p)
		return false, err
	}
	if !fresh {
		r.stats.Duplicates++
		return false, nil
	}
	p.progress = now
	if p.received < p.header.Length {
		return false, nil
	}
	r.stats.Whole++
	v.Header, v.Payload = p.header, p.buf[:p.received:p.received]
	r.last, p.buf = p.buf, nil
	r.drop(p)
	return true, nil
}

// place copies a piece to where it belongs. It returns false if the piece was
// there already. After an error, which it has counted, p must be dropped.
func (r *Reassembler) place(p *partial, h wire.Header, prefix wire.Fragment, data []byte) (fresh bool, err error) {
	low, high := prefix.Offset, prefix.Offset+uint32(len(data))
	if prefix.Total != p.header.Length || h.Flags&^(wire.FlagFragment|wire.FlagMore) != p.header.Flags ||
		h.Hops != p.header.Hops || (h.Flags&wire.FlagMore != 0) != (high < prefix.Total) {
		r.stats.Inconsistent++
		return false, errFragmentHeader
	}
	switch at, relation := p.relate(low, high); relation {
	case spanInside:
		if !bytes.Equal(p.buf[low:high], data) {
			r.stats.Inconsistent++
			return false, errFragmentContent
		}
		return false, nil
	case spanOverlaps:
		r.stats.Inconsistent++
		return false, errFragmentOverlap
	default:
		if uint64(low) > uint64(p.received)+uint64(r.limits.Ahead) {
			r.stats.Refused++
			return false, errFragmentAhead
		}
		if !p.insert(at, low, high) {
			r.stats.Refused++
			return false, errFragmentGaps
		}
	}
	r.touch(p)
	if err := r.grow(p, int(high)); err != nil {
		return false, err
	}
	copy(p.buf[low:], data)
	p.received += uint32(len(data))
	return true, nil
}

// grow makes p's buffer at least n bytes long.
func (r *Reassembler) grow(p *partial, n int) error {
	if n <= len(p.buf) {
		return nil
	}
	// A buffer for the whole is taken only if one lies about; else memory
	// follows what arrives, in powers of two.
	buf := r.buffers.take(int(p.header.Length))
	for buf == nil {
		if buf = r.buffers.take(n); buf != nil {
			break
		}
		if buf = r.buffers.make(n); buf != nil {
			break
		}
		if r.partials[0] == p {
			r.stats.Refused++
			return ErrBudget // the own limit suffices for one vesicle
		}
		r.stats.Evicted++
		r.drop(r.partials[0])
	}
	copy(buf, p.buf)
	r.buffers.give(p.buf)
	p.buf = buf
	return nil
}

// start makes room for a new vesicle and notes its header.
func (r *Reassembler) start(key partialKey, h wire.Header, total uint32) (*partial, error) {
	h.Flags &^= wire.FlagFragment | wire.FlagMore
	h.Length = total
	if int64(total) > int64(r.limits.Message) {
		r.stats.Refused++
		return nil, errWholeTooLarge
	}
	if h.Validate() != nil {
		r.stats.Inconsistent++
		return nil, errFragmentHeader
	}
	if len(r.partials) == r.limits.Partial {
		r.stats.Evicted++
		r.drop(r.partials[0])
	}
	var p *partial
	if n := len(r.spare); n > 0 {
		p, r.spare = r.spare[n-1], r.spare[:n-1]
	} else {
		p = new(partial)
	}
	p.key, p.header = key, h
	r.partials = append(r.partials, p)
	return p, nil
}

func (r *Reassembler) find(key partialKey) *partial {
	for i := len(r.partials) - 1; i >= 0; i-- {
		if r.partials[i].key == key {
			return r.partials[i]
		}
	}
	return nil
}

// touch moves p to the end of the list.
func (r *Reassembler) touch(p *partial) {
	last := len(r.partials) - 1
	if r.partials[last] == p {
		return
	}
	r.remove(p)
	r.partials = append(r.partials, p)
}

func (r *Reassembler) remove(p *partial) {
	for i, q := range r.partials {
		if q == p {
			r.partials = append(r.partials[:i], r.partials[i+1:]...)
			return
		}
	}
}

// drop ends p and keeps its memory for later ones.
func (r *Reassembler) drop(p *partial) {
	r.remove(p)
	r.buffers.give(p.buf)
	*p = partial{}
	r.spare = append(r.spare, p)
}

func (r *Reassembler) expire(now int64) {
	for len(r.partials) > 0 && now-r.partials[0].progress >= int64(r.limits.Idle) {
		r.stats.Expired++
		r.drop(r.partials[0])
	}
}

func (r *Reassembler) recycle() {
	r.buffers.give(r.last)
	r.last = nil
}
