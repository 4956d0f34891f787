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
// Small places that a turn did not need stay claimed for the next one
// (engine.KeepClaims), and one is claimed ahead when there is none, so that an
// answer finds its place without a look at the link. It belongs to the
// engine's thread.
type places struct {
	port *engine.Port
	max  int // the link's MaxPayload
	most int // places claimed at once
	size int // payload bytes of each place that is claimed
	from int // vs[:from] are committed
	used int // vs[from:used] are filled in; vs[used] is the next
	have int // vs[used:have] are claimed and free
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
	flush := p.used > p.from
	if err := p.settle(); err != nil {
		return nil, err
	}
	if flush {
		_ = p.port.Flush() // what is wrong with the link, the engine tells
	}
	p.drop()
	if err := p.reserve(size, want); err != nil {
		return nil, err
	}
	v := &p.vs[0]
	v.Payload = v.Payload[:size]
	return v, nil
}

// reserve claims places when none is.
func (p *places) reserve(size, want int) error {
	room := roundUp(size, p.max)
	n, err := p.port.ClaimBatch(p.vs[:max(1, min(want, p.most))], room)
	if err == nil {
		p.size, p.have = room, n
	}
	return err
}

// begin is the beginning of a turn. The engine may have given up what was
// claimed.
func (p *places) begin() {
	if p.port.Claimed() == 0 {
		p.from, p.used, p.have = 0, 0, 0
	}
}

// settle commits the places in use. Free ones stay claimed.
func (p *places) settle() error {
	if p.used == p.from {
		return nil
	}
	err := p.port.CommitBatch(p.vs[p.from:p.used])
	p.from = p.used
	if err != nil {
		p.drop()
	}
	return err
}

// drop gives up all places that are not committed.
func (p *places) drop() {
	if p.used < p.have || p.from < p.used {
		p.port.Abort()
	}
	p.from, p.used, p.have = 0, 0, 0
}

// keptPlace is the most payload bytes of a place that stays claimed: two
// cache lines of a ring. Larger ones would take too much of it.
const keptPlace = 2*recordLine - recordHead

// end is the end of a turn: what was answered is committed and published now,
// and not at the end of the cycle, so that what the engine has to do until then
// is done while the answers are on their way. A place for the next turn is
// claimed behind that.
func (p *places) end() {
	flush := p.used > p.from
	if p.settle() != nil {
		return
	}
	if flush {
		_ = p.port.Flush() // what is wrong with the link, the engine tells
	}
	switch {
	case p.size > keptPlace:
		p.drop()
	case p.used == p.have && flush:
		p.from, p.used, p.have = 0, 0, 0
		_ = p.reserve(p.size, 1) // a full link is found out when it matters
	}
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
