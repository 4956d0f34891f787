package serial

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

// outgoing is what a window knows of the vesicles that it sends. Their numbers
// count up from 0; the line carries the low byte:
//
//	base ≤ sent ≤ flushed ≤ next
//	 │      │       │         └ the next that is committed
//	 │      │       └ may be sent up to here
//	 │      └ the next that has not been sent
//	 └ the oldest that the peer may lack
type outgoing struct {
	max         int
	arena       arena
	outstanding int

	slots                     []outSlot
	base, sent, flushed, next uint64
	limit                     uint64 // the peer has no place from here on
	writing                   uint64 // whose frame line.data is a part of
	lost                      int    // slots that are to be sent again

	transmissions uint64
	rtt, spread   time.Duration // smoothed, after Jacobson (RFC 6298)
	backoff       uint
	deadline      time.Time // zero while nothing is under way

	count link.Stats
}

// outSlot is one vesicle that is kept until the peer has it.
type outSlot struct {
	line  []byte // the frame
	n     int    // its length
	order uint64 // of its last transmission, among all
	times int    // it was sent
	at    time.Time
	acked bool
	lost  bool
}

const (
	firstRTO = 100 * time.Millisecond
	minRTO   = 10 * time.Millisecond
	maxRTO   = time.Second
)

func newOutgoing(max, buffer, size int) outgoing {
	o := outgoing{max: max, slots: make([]outSlot, size), limit: uint64(size)}
	o.arena.buf = make([]byte, min(buffer, size*(placeExtra+max)))
	for i := range o.slots {
		o.slots[i].line = make([]byte, FrameBound(max)+cobsSlack)
	}
	return o
}

// more gives the line the next frame: what was lost first.
func (w *window) more() []byte {
	o := &w.out
	s := o.sent
	switch {
	case o.lost > 0:
		for s = o.base; !o.slots[s%w.size].lost; s++ {
		}
		o.slots[s%w.size].lost = false
		o.lost--
		w.line.stats.Again++
	case o.sent < o.flushed && o.sent < o.limit:
		o.sent++
	default:
		if o.sent < o.flushed && o.deadline.IsZero() {
			o.deadline = time.Now().Add(o.rto()) // to ask for room
		}
		return nil
	}
	slot := &o.slots[s%w.size]
	o.transmissions++
	slot.order = o.transmissions
	slot.times++
	slot.at = time.Now()
	if o.deadline.IsZero() {
		o.deadline = slot.at.Add(o.rto())
	}
	o.writing = s
	return slot.line[:slot.n]
}

func (o *outgoing) rto() time.Duration {
	t := firstRTO
	if o.rtt > 0 {
		t = o.rtt + max(4*o.spread, minRTO)
	}
	return min(t<<o.backoff, maxRTO)
}

// takeAck handles an acknowledgement.
func (w *window) takeAck() {
	o, a := &w.out, w.read.acked
	next := o.base + uint64(a.next-byte(o.base))
	if a.session != w.line.peer || next > o.sent || uint64(a.credit) > w.size {
		w.line.stats.Stray++
		return
	}
	o.limit = max(o.limit, next+uint64(a.credit))
	now, newest, progress := time.Now(), uint64(0), false
	sample := time.Duration(0)
	for s := o.base; s < o.sent; s++ {
		slot := &o.slots[s%w.size]
		here := s < next || s > next && s <= next+MaxWindow && a.received>>(s-next-1)&1 != 0
		if !here || slot.acked {
			continue
		}
		progress = true
		slot.acked = true
		if slot.lost {
			slot.lost = false
			o.lost--
		}
		if slot.order > newest {
			newest = slot.order
			sample = now.Sub(slot.at)
			if slot.times > 1 {
				sample = 0 // nobody knows which of them arrived (Karn)
			}
		}
	}
	if sample > 0 {
		o.measure(sample)
	}
	o.base = next
	// A line keeps order: what was sent before something that arrived, and is
	// not there, was lost. (After a timeout that was too early, what arrived may
	// be the first transmission; then vesicles are sent twice, which costs time
	// and nothing else.)
	for s := o.base; s < o.sent; s++ {
		if slot := &o.slots[s%w.size]; !slot.acked && !slot.lost && slot.order < newest {
			slot.lost = true
			o.lost++
		}
	}
	if progress {
		o.backoff = 0
		o.deadline = time.Time{}
		if o.base < o.sent {
			o.deadline = now.Add(o.rto())
		}
	}
}

func (o *outgoing) measure(sample time.Duration) {
	if o.rtt == 0 {
		o.rtt, o.spread = sample, sample/2
		return
	}
	o.spread += (max(sample-o.rtt, o.rtt-sample) - o.spread) / 4
	o.rtt += (sample - o.rtt) / 8
}

// overdue sends the oldest vesicle again if no acknowledgement has come in
// time, or tries the peer's room if it had none.
func (w *window) overdue() {
	o := &w.out
	if o.deadline.IsZero() {
		return
	}
	now := time.Now()
	if now.Before(o.deadline) {
		return
	}
	o.deadline = now.Add(o.rto())
	// On a slow line the kernel may hold seconds of what was written; only
	// when all of it is on its way does the time for an answer begin.
	if queued, err := unix.IoctlGetInt(w.line.fd, unix.TIOCOUTQ); len(w.line.data) > 0 || err == nil && queued > 0 {
		return
	}
	if o.base == o.sent {
		if o.sent < o.flushed {
			o.limit = max(o.limit, o.sent+1)
			o.backoff = min(o.backoff+1, 8)
		} else {
			o.deadline = time.Time{}
		}
		return
	}
	o.backoff = min(o.backoff+1, 8)
	for s := o.base; s < o.sent; s++ {
		if slot := &o.slots[s%w.size]; !slot.acked {
			if !slot.lost {
				slot.lost = true
				o.lost++
				w.line.stats.Timeouts++
			}
			return
		}
	}
}
