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
// Data frames are distinct from 0, modulo 2^16. Those that the peer has not
// acknowledged are kept, and sent again from the number that it asks for:
//
//	taken ≤ sent ≤ made ≤ limit,  made-taken ≤ len(kept)
//
// The frame that the peer wants is one from taken to sent, whatever was lost: to
// go back, the sender stops, says resume, and goes on when the peer has answered
// that very resume; so nothing of before is under way then. Of its number a frame
// carries but the low bits, so the peer takes none for another as long as fewer
// are between taken and the next one than those bits tell apart: that is so for
// further parts, since no window is as large, and others wait for it (fits).
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

	held    bool // nothing is sent until the peer has answered a resume
	resume  bool // that has to be sent
	round   byte // of the last resume; even
	touched bool // a data frame was sent since the peer's last word
	stuck   bool // … and that word was no news

	resent uint64 // frames
	stats  link.Stats
}

// waiting reports whether there is a data frame to send, now or later.
func (o *outgoing) waiting() bool { return !o.away() }

// ready reports whether a data frame may be sent.
func (o *outgoing) ready() bool {
	return !o.held && o.waiting() && (o.sent != o.made || o.made != o.limit) && o.fits()
}

// fits reports whether the next frame carries enough of its number.
func (o *outgoing) fits() bool {
	return o.sent-o.taken < distinct || o.priority().Class() == ClassNext
}

// priority returns the identifier that the next data frame will have, but for
// its number, if there is one waiting. Of a vesicle that has not begun only the
// priority is known.
func (o *outgoing) priority() ID {
	switch {
	case o.sent != o.made:
		return o.kept[int(o.sent)%len(o.kept)].ID
	case o.encoder.busy:
		return o.encoder.id | ID(ClassNext)<<classShift
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
		o.encoder.begin(p.header, p.payload, o.made)
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
	switch {
	case w.round != o.round: // of before the last resume, which may be lost
		o.resume = o.held
	case w.gap || o.stuck && !o.held:
		o.goBack()
	case o.held:
		o.sent, o.held, o.resume = o.taken, false, false
	}
	o.touched = false
	return true
}

// goBack begins to send again what the peer has not acknowledged.
func (o *outgoing) goBack() {
	o.round += roundStep
	o.sent, o.held, o.resume, o.stuck = o.taken, true, true, false
}

// sendAgain goes back if anything may be lost.
func (o *outgoing) sendAgain() {
	if o.held || o.taken != o.sent {
		o.goBack()
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
