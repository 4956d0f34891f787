package rpc

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// piecesIdle is how long a vesicle in pieces may make no progress; 0 means
// link's default. A variable for tests.
var piecesIdle time.Duration

// piece takes a part of a vesicle, and the whole once it is there.
func (s *serverLink) piece(v wire.Vesicle) {
	if s.whole == nil {
		r, err := link.NewReassembler(link.ReassemblyLimits{
			Message: s.server.opts.MaxRequest + wire.DeadlineSize, Budget: s.server.pieces, Idle: piecesIdle,
		})
		if err != nil {
			return // MaxRequest was checked
		}
		s.whole = r
	}
	first := binary.LittleEndian.Uint32(v.Payload[4:]) == 0 // Poll has checked the length
	head, now := v.Header, s.port.Now()
	whole, err := s.whole.Add(&v, now)
	switch {
	case whole:
		s.dispatch(&v.Header, v.Payload, true)
	case err == nil:
	case errors.Is(err, link.ErrTooLarge):
		if head.Kind == wire.KindRequest && first {
			s.tooLarge(&head)
		}
	case errors.Is(err, link.ErrBudget):
		if head.Kind == wire.KindRequest {
			s.stats.requests++
			s.fail(&head, Errorf(wire.StatusResourceExhausted, "requests in pieces hold all the memory that they may on this server, or on this link (MaxPieces)"))
		}
	default:
		s.stats.malformed++
	}
	s.schedule(now + int64(s.whole.Idle()))
}

// expirePieces drops what makes no progress and gives back spare memory, which
// other links may want. It returns when to look again.
func (s *serverLink) expirePieces(now int64) (next int64) {
	if s.whole == nil {
		return noDeadline
	}
	s.whole.Expire(now)
	if _, held := s.whole.Pending(); held == 0 {
		return noDeadline
	}
	return now + int64(s.whole.Idle())
}

func (s *serverLink) tooLarge(h *wire.Header) {
	s.stats.requests++
	s.fail(h, Errorf(wire.StatusTooLarge, "the request has more than the %d bytes that this server takes (MaxRequest)", s.server.opts.MaxRequest))
}
