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

// places is where vesicles that go out over a port are written, several before
// they travel together. It belongs to the engine's thread.
//
// Over a ring, small ones are written to private memory and copied into the
// ring and published by the batch: less work than to claim a place, write
// there and commit it, because nothing is handed out in between. All others
// are written in the link's memory: claimed for several at once, committed at
// once, flushed at once.
type places struct {
	port   *engine.Port
	spill  func(*wire.Vesicle) // takes, by copy, what a ring has unexpectedly no room for
	max    int                 // the link's MaxPayload
	most   int                 // places at once
	size   int                 // payload bytes of each place
	from   int                 // vs[:from] have been sent
	used   int                 // vs[from:used] are filled in; vs[used] is the next
	have   int                 // vs[used:have] are free
	lines  bool                // the places are memory
	backed bool                // every place of vs that has a memory lies in it
	vs     [maxPlaces]wire.Vesicle
	memory [eagerPlaces][engine.LinePayload]byte
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
		if p.used == 0 {
			p.port.FetchLine() // it comes while the message is being made
		}
		v := &p.vs[p.used]
		v.Payload = v.Payload[:size]
		return v, nil
	}
	return p.more(size, want)
}

// put accepts the place that take returned.
func (p *places) put() { p.used++ }

// more is take when there is no fitting place.
func (p *places) more(size, want int) (*wire.Vesicle, error) {
	flush := p.used > p.from && !p.lines
	if err := p.settle(); err != nil {
		return nil, err
	}
	if flush {
		_ = p.port.Flush() // what is wrong with the link, the engine tells
	}
	p.drop()
	if size <= engine.LinePayload && p.reserveLines() {
		v := &p.vs[0]
		v.Payload = v.Payload[:size]
		return v, nil
	}
	room := roundUp(size, p.max)
	p.backed = false
	n, err := p.port.ClaimBatch(p.vs[:max(1, min(want, p.most))], room)
	if err != nil {
		return nil, err
	}
	p.size, p.have = room, n
	v := &p.vs[0]
	v.Payload = v.Payload[:size]
	return v, nil
}

// reserveLines makes memory the places, as many as the ring has lines free. It
// reports false where there is no ring, or no room in it.
func (p *places) reserveLines() bool {
	n := p.port.FreeLines(eagerPlaces)
	if n == 0 {
		return false
	}
	if !p.backed {
		// Not each time: sixteen slices are as much work as two calls.
		p.backed = true
		for i := range p.memory {
			p.vs[i].Payload = p.memory[i][:]
		}
	}
	p.lines = true
	p.size, p.from, p.used, p.have = engine.LinePayload, 0, 0, n
	return true
}

// settle sends the places in use: memory is published, claims are committed
// and want a flush.
func (p *places) settle() error {
	if p.used == p.from {
		return nil
	}
	vs := p.vs[p.from:p.used]
	p.from = p.used
	if !p.lines {
		err := p.port.CommitBatch(vs)
		if err != nil {
			p.drop()
		}
		return err
	}
	n, err := p.port.WriteLines(vs)
	for i := n; i < len(vs) && err == nil; i++ {
		p.spill(&vs[i]) // the engine has answered something by itself
	}
	return err
}

// drop gives up all places that have not been sent.
func (p *places) drop() {
	if p.port.Claimed() != 0 {
		p.port.Abort()
	}
	p.from, p.used, p.have, p.lines = 0, 0, 0, false
}

// end is the end of a turn: what was answered is published now, and not at the
// end of the cycle, so that what the engine has to do until then is done while
// the answers are on their way. Memory for the next turn is made ready behind
// that.
func (p *places) end() {
	flush := p.used > p.from
	err := p.settle()
	switch {
	case err != nil || !p.lines:
		if flush && err == nil {
			_ = p.port.Flush() // what is wrong with the link, the engine tells
		}
		p.drop()
	case p.used == p.have || flush:
		if !p.reserveLines() {
			p.drop()
		}
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
