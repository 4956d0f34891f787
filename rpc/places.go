package rpc

import (
	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// maxPlaces is the most places claimed at once, where the link copies and a
// flush is a system call.
const maxPlaces = 64

// eagerPlaces is the same where the peer reads what is written as soon as it
// is flushed: in smaller pieces both sides of a window of pipelined calls work
// at the same time, instead of one after the other.
const eagerPlaces = 16

// places claims room on a port for several vesicles at once and commits them
// at once, so that a batch of calls costs one claim, one commit and one flush.
// It belongs to the engine's thread, and nothing may stay claimed when the
// turn ends: [places.settle] commits what was used and gives up the rest.
type places struct {
	port *engine.Port
	max  int // the link's MaxPayload
	most int // places claimed at once
	size int // payload bytes of each place that is claimed
	have int // places claimed
	used int // of those, filled in; vs[used] is the next
	vs   [maxPlaces]wire.Vesicle
}

func (p *places) init(info link.Info) {
	p.max, p.most = info.MaxPayload, maxPlaces
	if info.ZeroCopy {
		p.most = eagerPlaces
	}
}

// take returns the next place, of size bytes; the caller fills it in, header
// included, and calls put, or leaves it, and take returns it again. want is
// how many more the turn is likely to need. Errors: those of
// [engine.Port.ClaimBatch].
func (p *places) take(size, want int) (*wire.Vesicle, error) {
	if p.used < p.have && size <= p.size {
		v := &p.vs[p.used]
		v.Payload = v.Payload[:size]
		return v, nil
	}
	return p.claim(size, want)
}

// put accepts the place that take returned.
func (p *places) put() { p.used++ }

func (p *places) claim(size, want int) (*wire.Vesicle, error) {
	flush := p.used > 0
	if err := p.settle(); err != nil {
		return nil, err
	}
	if flush {
		_ = p.port.Flush() // what is wrong with the link, the engine tells
	}
	room := roundUp(size, p.max)
	n, err := p.port.ClaimBatch(p.vs[:max(1, min(want, p.most))], room)
	if err != nil {
		return nil, err
	}
	p.size, p.have = room, n
	v := &p.vs[0]
	v.Payload = v.Payload[:size]
	return v, nil
}

// settle commits the places in use and gives up the others.
func (p *places) settle() error {
	used, have := p.used, p.have
	if have == 0 {
		return nil
	}
	p.used, p.have = 0, 0
	var err error
	if used > 0 {
		err = p.port.CommitBatch(p.vs[:used])
	}
	if used < have || err != nil {
		p.port.Abort()
	}
	return err
}

// A record of a ring is 24 bytes and the payload, in whole cache lines. Asking
// for all of the last line costs nothing there, and makes places that serve
// messages of nearly the same size.
const (
	recordHead = 24
	recordLine = 64
)

func roundUp(size, limit int) int {
	return max(size, min((size+recordHead+recordLine-1)&^(recordLine-1)-recordHead, limit))
}

// setHeader sets a header field by field. A composite literal would be made on
// the stack by narrow stores and copied by wide loads, which have to wait until
// those stores have left the store buffer: 20 ns, measured. For the same
// reason flags are best a constant here: the last four fields are then one
// store, and the link reads them in one load.
func setHeader(h *wire.Header, kind wire.Kind, flags wire.Flags, fingerprint uint64, correlation uint32) {
	h.Fingerprint = fingerprint
	h.Correlation = correlation
	h.Kind = kind
	h.Flags = flags
	h.Channel = wire.ChannelApplication
	h.Hops = replyHops
}
