package serial

import (
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// incoming is what a window knows of the vesicles that it receives:
//
//	released ≤ delivered ≤ next
//	 │          │           └ the first that is missing
//	 │          └ handed out by Poll up to here
//	 └ places before here are free again
type incoming struct {
	slots                     []inSlot
	released, delivered, next uint64
	told                      uint64 // the peer knows of places up to here

	count link.Stats
}

type inSlot struct {
	here    bool
	header  wire.Header
	payload []byte // as long as the longest
}

func newIncoming(max, size int) incoming {
	in := incoming{slots: make([]inSlot, size), told: uint64(size)}
	for i := range in.slots {
		in.slots[i].payload = make([]byte, max)
	}
	return in
}

// take puts the vesicle that was read into its place. Whatever becomes of it,
// the peer is told what is here: it may not have heard before.
func (w *window) take() {
	i, r := &w.in, w.read
	if r.seq < 0 {
		w.line.stats.Stray++ // of a peer that has no window open
		return
	}
	w.line.due |= dueAck
	ahead := uint64(byte(r.seq) - byte(i.next))
	s := i.next + ahead
	slot := &i.slots[s%w.size]
	switch {
	case ahead > 127: // behind
		w.line.stats.Duplicates++
		return
	case s >= i.released+w.size:
		w.line.stats.Overrun++
		return
	case slot.here:
		w.line.stats.Duplicates++
		return
	}
	slot.here = true
	slot.header = r.header
	copy(slot.payload, r.payload)
	for i.next < i.released+w.size && i.slots[i.next%w.size].here {
		i.next++
	}
}

// makeAck says what is here and how much more may come.
func (w *window) makeAck() ack {
	i := &w.in
	end := i.released + w.size
	a := ack{next: byte(i.next), credit: byte(end - i.next), session: w.line.session}
	for s := i.next + 1; s < end && s <= i.next+MaxWindow; s++ {
		if i.slots[s%w.size].here {
			a.received |= 1 << (s - i.next - 1)
		}
	}
	i.told = end
	return a
}
