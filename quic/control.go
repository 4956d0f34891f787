package quic

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/link"
)

// What QUIC's scheduler sends first, of the streams that have something
// (RFC 9218: lower is more urgent; those of the same urgency take turns).
const (
	urgencyControl     = 0
	urgencyConsensus   = 1
	urgencyOperations  = 2
	urgencyApplication = 3
)

// quicStream is a sendStream over QUIC, and controlStream that of a link's
// control stream.
type (
	quicStream    struct{ *quicgo.SendStream }
	controlStream struct{ *quicgo.Stream }
)

// Abandon implements sendStream.
func (s quicStream) Abandon() { s.CancelWrite(streamCancel) }

// Abandon implements sendStream.
func (s controlStream) Abandon() { s.CancelWrite(streamCancel) }

// openLane implements carrier.
func (q *quicLink) openLane(index int) (s sendStream, head []byte, err error) {
	u, err := q.stream(index)
	if err != nil {
		return nil, nil, err
	}
	urgency := int8(urgencyApplication)
	if q.link.count > 1 {
		switch index {
		case laneConsensus:
			urgency = urgencyConsensus
		case laneOperations:
			urgency = urgencyOperations
		}
	}
	u.SetPriority(urgency, true)
	return quicStream{u}, append(binary.LittleEndian.AppendUint64(make([]byte, 0, laneHeadSize), q.number), byte(index)), nil
}

// stream returns a stream for a lane, or errNoStream.
func (q *quicLink) stream(index int) (*quicgo.SendStream, error) {
	return q.grants.take(q.conn.q, index, q.link.space.notify)
}

// giveCredit implements carrier.
func (q *quicLink) giveCredit(n int64) { q.outbox.giveCredit(n) }

// sayFarewell implements carrier.
func (q *quicLink) sayFarewell(lanes int) { q.outbox.sayFarewell(lanes) }

// sayReceived implements carrier.
func (q *quicLink) sayReceived() { q.outbox.sayReceived() }

// acknowledged implements carrier.
func (q *quicLink) acknowledged() <-chan struct{} { return q.acked }

// release implements carrier. The place of the link is kept until the peer has
// left, too: see attend.
func (q *quicLink) release() {
	q.grants.end()
	if q.link.lossy != nil {
		q.link.lossy.stop()
	}
}

// read notes a stream that is being read; false if reading has stopped.
func (q *quicLink) read(s *quicgo.ReceiveStream) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		s.CancelRead(streamCancel)
		return false
	}
	q.reading = append(q.reading, s)
	return true
}

// stopReading implements carrier.
func (q *quicLink) stopReading() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	for _, s := range q.reading {
		s.CancelRead(streamCancel)
	}
	q.reading = nil
}

// attend reads the control stream to its end, and thereby the link's.
func (q *quicLink) attend() {
	err := q.converse()
	q.ackOnce.Do(func() { close(q.acked) })
	if err != nil {
		q.link.lost(gone(err))
		q.link.leave()
	}
	<-q.link.finished
	q.conn.drop(q)
}

// converse returns nil when the peer has said that it sends nothing more and
// has received everything.
func (q *quicLink) converse() error {
	var b [1]byte
	in := bufio.NewReaderSize(q.control, 64)
	for said, acked := false, false; ; {
		if _, err := io.ReadFull(in, b[:]); err != nil {
			if said && acked {
				return nil
			}
			return err
		}
		switch {
		case b[0] == credited:
			var n [4]byte
			if _, err := io.ReadFull(in, n[:]); err != nil {
				return err
			}
			q.link.credit(binary.LittleEndian.Uint32(n[:]))
		case b[0] == farewell && !said:
			if _, err := io.ReadFull(in, b[:]); err != nil {
				return err
			}
			said = true
			q.link.arrivals.farewell(int(b[0]))
		case b[0] == received && !acked:
			acked = true
			q.ackOnce.Do(func() { close(q.acked) })
		default:
			q.link.receive.corrupt.Add(1)
			err := fmt.Errorf("%w: %#x on the control stream", link.ErrCorrupt, b[0])
			q.link.breached(err)
			return err
		}
	}
}
