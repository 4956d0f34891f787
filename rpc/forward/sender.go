package forward

import (
	"encoding/binary"
	"errors"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// freshHops is how many forwarders may pass on a vesicle that begins here.
const freshHops = 16

// sender is the sending half of a port.
type sender struct {
	port    *engine.Port // nil: no link
	max     int          // its MaxPayload
	idle    []*splitter  // for vesicles above max
	scratch []byte       // for errors
}

func (s *sender) open(p *engine.Port) {
	s.port, s.max, s.idle = p, p.Link().Info().MaxPayload, nil
}

// splitter sends one vesicle in pieces, through [link.Fragmenter], as far as
// there is room, and goes on when there is more. A port has several, because
// vesicles from several others may be under way to it.
type splitter struct {
	to     *sender
	port   *engine.Port // of to, when this was made
	pieces *link.Fragmenter
	late   int64
	salt   uint32
}

// source is where vesicles come from: what of the one that a port is offering
// was sent, and since when it has been waiting.
type source struct {
	split *splitter
	since int64  // on the engine's clock; 0: it isn't waiting
	salt  uint32 // see adjust
}

// waits reports for how long, in nanoseconds, the vesicle being offered has
// been waiting.
func (o *source) waits(now int64) int64 {
	if o.since == 0 {
		return 0
	}
	return now - o.since
}

// over is called when a vesicle is done with, whatever became of it.
func (o *source) over() {
	o.since = 0
	o.abandon()
}

// send passes a vesicle on to this port. late (nanoseconds) is taken off its
// deadline, if it carries one. from, whose vesicle it is, keeps what is needed
// to go on after link.ErrFull: the same must be sent next, or abandon be
// called. Errors: link.ErrFull, link.ErrTooLarge, or that the link is gone.
func (s *sender) send(from *source, h wire.Header, payload []byte, late int64) error {
	if s.port == nil {
		return link.ErrClosed
	}
	if len(payload) > s.max || from != nil && from.split != nil {
		return s.sendPieces(from, h, payload, late)
	}
	place, err := s.port.Claim(len(payload))
	if err != nil {
		return err
	}
	copy(place.Payload, payload)
	place.Header = h
	adjust(place, late, saltOf(from, &h))
	return s.port.Commit()
}

func (s *sender) sendPieces(from *source, h wire.Header, payload []byte, late int64) error {
	if from == nil {
		return link.ErrTooLarge
	}
	if from.split != nil && from.split.port != s.port {
		from.abandon()
	}
	if from.split == nil {
		sp, err := s.splitter()
		if err != nil {
			return err
		}
		from.split = sp
	}
	from.split.late, from.split.salt = late, saltOf(from, &h)
	err := from.split.pieces.Send(h, payload)
	if !errors.Is(err, link.ErrFull) {
		from.abandon()
	}
	return err
}

// splitter returns an idle splitter, a new one if there is none.
func (s *sender) splitter() (*splitter, error) {
	if n := len(s.idle); n > 0 {
		sp := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return sp, nil
	}
	sp := &splitter{to: s, port: s.port}
	pieces, err := link.NewFragmenter(pieceSender{sp, s.port}, s.max)
	if err != nil {
		return nil, errors.Join(link.ErrTooLarge, err)
	}
	sp.pieces = pieces
	return sp, nil
}

// saltOf returns what goes into the sequence of a piece.
func saltOf(from *source, h *wire.Header) uint32 {
	if from == nil || h.Kind != wire.KindEvent {
		return 0
	}
	return from.salt
}

// abandon gives up the vesicle under way.
func (o *source) abandon() {
	if sp := o.split; sp != nil {
		o.split = nil
		sp.pieces.Cancel()
		if sp.port == sp.to.port {
			sp.to.idle = append(sp.to.idle, sp)
		}
	}
}

// sendError answers a caller's request with an error; of a message that does not
// fit, and of details behind one, the caller gets what does.
func (s *sender) sendError(request *wire.Header, p wire.ErrorPayload) error {
	if s.port == nil {
		return link.ErrClosed
	}
	room := max(0, s.max-errorHead)
	if len(p.Message)+len(p.Details) > room { // a part of details may mean something else
		p.Details = nil
	}
	p.Message = p.Message[:min(len(p.Message), room)]
	s.scratch = p.Append(s.scratch[:0])
	return s.send(nil, wire.Header{
		Fingerprint: request.Fingerprint, Correlation: request.Correlation, Kind: wire.KindError, Hops: freshHops,
	}, s.scratch, 0)
}

// errorHead is what an error payload has before its message, in bytes.
const errorHead = 8

// pieceSender is the port as a link.Fragmenter wants it.
type pieceSender struct {
	sp   *splitter
	port *engine.Port
}

func (s pieceSender) Claim(out []wire.Vesicle, size int) (int, error) {
	return s.port.ClaimBatch(out, size)
}

func (s pieceSender) Commit(vs []wire.Vesicle) error {
	for i := range vs {
		adjust(&vs[i], s.sp.late, s.sp.salt)
	}
	return s.port.CommitBatch(vs)
}

func (s pieceSender) Abort()                { s.port.Abort() }
func (s pieceSender) Flush() error          { return s.port.Flush() }
func (s pieceSender) ArmSpace(int) bool     { return false } // the engine's affair
func (s pieceSender) DisarmSpace()          {}
func (s pieceSender) SendStats() link.Stats { return s.port.Link().SendStats() }

// adjust takes what a vesicle has waited off its deadline, in the place it was
// copied to. salt goes into the sequence of a piece: pieces without a call, from
// several callers, must not be taken for parts of one vesicle.
func adjust(v *wire.Vesicle, late int64, salt uint32) {
	b := v.Payload
	if v.Header.Flags&wire.FlagFragment != 0 {
		if len(b) < wire.FragmentSize {
			return
		}
		if salt != 0 {
			binary.LittleEndian.PutUint32(b[8:], binary.LittleEndian.Uint32(b[8:])^salt)
		}
		if binary.LittleEndian.Uint32(b[4:]) != 0 {
			return
		}
		b = b[wire.FragmentSize:]
	}
	if late <= 0 || v.Header.Flags&wire.FlagDeadline == 0 || len(b) < wire.DeadlineSize {
		return
	}
	at := (*[wire.DeadlineSize]byte)(b)
	if budget := wire.Deadline(at); budget > uint64(late) {
		wire.PutDeadline(at, budget-uint64(late))
	} else if budget > 0 {
		wire.PutDeadline(at, 1)
	}
}

// opening reads what of a vesicle concerns its call: whether the payload proper
// begins in it, the budget if it carries one, and what it is of how many bytes.
type opening struct {
	first       bool
	budget      uint64
	size, total uint32 // of the payload, prefixes of pieces not counted
}

func open(v *wire.Vesicle) opening {
	b := v.Payload
	o := opening{first: true, size: uint32(len(b)), total: uint32(len(b))}
	if v.Header.Flags&wire.FlagFragment != 0 && len(b) >= wire.FragmentSize {
		o.total = binary.LittleEndian.Uint32(b)
		o.first = binary.LittleEndian.Uint32(b[4:]) == 0
		b = b[wire.FragmentSize:]
		o.size = uint32(len(b))
	}
	if o.first && v.Header.Flags&wire.FlagDeadline != 0 && len(b) >= wire.DeadlineSize {
		o.budget = min(wire.Deadline((*[wire.DeadlineSize]byte)(b)), uint64(noDeadline))
	}
	return o
}
