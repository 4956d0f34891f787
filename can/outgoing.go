package can

import (
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// outgoing is the sending half of a link, guarded by its node. Its vesicles
// lie in store, oldest first:
//
//	[ being cut up | published | committed | claimed ]
//
// Data frames are numbered from 0, modulo 2^16. Those that the peer has not
// acknowledged are kept, and sent again from the number that it asks for:
//
//	taken ≤ sent ≤ made ≤ limit,  made-taken ≤ len(kept)
type outgoing struct {
	store                arena
	published, committed int // vesicles
	maxPayload           int
	encoder              encoder
	kept                 []Frame // by number, modulo its length
	checks               []uint16
	taken, sent, made    uint16
	limit                uint16
	check                uint16 // running, of all frames made
	takenCheck           uint16 // of those before taken

	resume  bool // tell the peer where the next frame belongs
	touched bool // a data frame was sent since the peer's last word
	stuck   bool // … and that word was no news

	resent uint64 // frames
	stats  link.Stats
}

// ready reports whether a data frame may be sent.
func (o *outgoing) ready() bool {
	return o.sent != o.made || o.made != o.limit && (o.encoder.busy || o.published > 0)
}

// priority returns the identifier that the next data frame will have, but for
// its number, if ready.
func (o *outgoing) priority() ID {
	switch {
	case o.sent != o.made:
		return o.kept[int(o.sent)%len(o.kept)].ID
	case o.encoder.busy:
		return o.encoder.id
	}
	return ID(dataPriority(o.store.at(0).header.Flags.Priority())) << priorityShift
}

// next returns the next data frame, which is then taken for sent. The frame
// is kept until the peer has acknowledged it.
func (o *outgoing) next() *Frame {
	f := &o.kept[int(o.sent)%len(o.kept)]
	if o.sent == o.made {
		o.make(f)
	} else {
		o.resent++
	}
	o.sent++
	o.touched = true
	return f
}

// make cuts the next frame off the oldest vesicle.
func (o *outgoing) make(f *Frame) {
	if !o.encoder.busy {
		p := o.store.at(0)
		o.encoder.begin(p.header, p.payload)
	}
	o.encoder.next(f, o.made)
	o.check = fold(o.check, f)
	o.checks[int(o.made)%len(o.checks)] = o.check
	o.made++
	if !o.encoder.busy {
		o.store.free(1)
		o.published--
		o.committed--
	}
}

// flowed takes the peer's word. It returns false if that can't be.
func (o *outgoing) flowed(w *flow) bool {
	inFlight := o.made - o.taken
	if news := w.taken - o.taken; news > inFlight {
		// Older than what was heard already: sent before it, arrived after.
		return -news <= maxWindow
	} else if news > 0 {
		o.takenCheck = o.checks[int(w.taken-1)%len(o.checks)]
		if o.sent-o.taken < news {
			o.sent = w.taken // what was to be sent again has arrived after all
		}
		o.taken = w.taken
		o.stuck = false
	} else {
		o.stuck = o.taken != o.made && !o.touched
	}
	if w.check != checkByte(o.takenCheck) || w.limit-w.taken > maxWindow {
		return false
	}
	// A limit never shrinks, and what is kept bounds it too.
	if ahead := w.limit - o.taken; ahead > o.limit-o.taken {
		o.limit = o.taken + min(ahead, uint16(len(o.kept)))
	}
	if w.gap || o.stuck {
		o.sent, o.resume, o.stuck = o.taken, true, false
	}
	o.touched = false
	return true
}

// sendAgain goes back to what the peer has not acknowledged.
func (o *outgoing) sendAgain() {
	if o.taken != o.sent {
		o.sent, o.resume = o.taken, true
	}
}

// away reports whether all that was published has been given to the
// controller.
func (o *outgoing) away() bool {
	return o.sent == o.made && !o.encoder.busy && o.published == 0
}

// idle reports whether all that was published has been sent and acknowledged.
func (o *outgoing) idle() bool {
	return o.taken == o.made && o.away()
}

// room reports whether a claim of size bytes would succeed.
func (o *outgoing) room(size int) bool {
	_, ok := o.store.fit(size)
	return ok
}

// claim reserves places; see link.Sender.
func (o *outgoing) claim(out []wire.Vesicle, size int) (n int) {
	for n < len(out) {
		p := o.store.take(size)
		if p == nil {
			break
		}
		out[n].Payload = p.payload
		n++
	}
	return n
}

// commit seals the oldest claims. It returns false if vs are not those.
func (o *outgoing) commit(vs []wire.Vesicle) bool {
	if len(vs) > o.store.count-o.committed {
		return false
	}
	for i := range vs {
		p, v := o.store.at(o.committed), &vs[i]
		n := len(v.Payload)
		if n > len(p.payload) || n > 0 && &v.Payload[0] != &p.payload[0] {
			return false
		}
		v.Header.Length = uint32(n)
		p.header, p.payload = v.Header, p.payload[:n]
		o.committed++
		o.stats.Vesicles++
		o.stats.Bytes += uint64(n)
	}
	return true
}

func (o *outgoing) abort() { o.store.drop(o.store.count - o.committed) }

// publish makes everything committed ready to travel.
func (o *outgoing) publish() {
	if o.published < o.committed {
		o.published = o.committed
		o.stats.Flushes++
	}
}
