package serial

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

// The states of a connection, as its own side made them.
const (
	stateOpen   = 0
	stateShut   = 1 // nothing new; memory is still there
	stateClosed = 2 // memory is gone
)

// ending is why a connection ended by other than this side's wish.
type ending struct{ err error }

// line is the stream of a connection: what is written to it and how it ended.
// Both halves of the connection share it.
type line struct {
	fd    int
	state atomic.Uint32
	cause atomic.Pointer[ending]
	let   func() // lets others open the device; nil where nobody was kept out

	mu sync.Mutex // everything below

	// What is to be written, in the order of need: the rest of an own frame
	// that was begun; own frames that are due, at the next delimiter; data.
	own     []byte
	due     dues
	data    []byte
	more    func() []byte // the next data, if any; nil without a window
	zero    bool          // the last byte written was a delimiter
	gone    error         // the descriptor takes no more
	scratch [3 * ownBound]byte
	body    [helloSize + crc32Size]byte // of an own frame; here, for it would escape

	session, peer uint32 // 0: not yet known
	greeting      hello  // what this side says of itself
	ack           func() ack
	stats         LineStats
}

// dues are the own frames that are to be written. Each is made when it is
// written, so it says what holds then.
type dues uint8

const (
	dueHello dues = 1 << iota
	dueAsk        // with dueHello: please answer
	dueAck
	dueBye
)

// end records why the connection ended; the first cause counts. From then on
// nothing is read or written, and the device is anybody's: who reconnects does
// so before the old connection is closed.
func (l *line) end(err error) {
	if l.cause.CompareAndSwap(nil, &ending{err}) && l.let != nil {
		l.let()
	}
}

// failed returns why the connection no longer works, or nil.
func (l *line) failed() error {
	if l.state.Load() != stateOpen {
		return link.ErrClosed
	}
	if c := l.cause.Load(); c != nil {
		return c.err
	}
	return nil
}

// push writes as much as the descriptor takes. The caller holds mu.
func (l *line) push() {
	for l.gone == nil {
		from := &l.own
		switch {
		case len(l.own) > 0:
		case l.due != 0 && l.zero:
			l.own = l.makeOwn()
		default:
			if from = &l.data; len(l.data) == 0 && l.more != nil {
				l.data = l.more()
			}
		}
		chunk := *from
		if len(chunk) == 0 {
			return
		}
		if from == &l.data && l.due != 0 {
			// Up to the delimiter, and the own frames next.
			chunk = chunk[:bytes.IndexByte(chunk, delimiter)+1]
		}
		n, err := unix.Write(l.fd, chunk)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN || err == nil && n <= 0:
			return
		case err != nil:
			l.gone = fmt.Errorf("%w: the line takes no more: %w", link.ErrPeerGone, err)
			return
		}
		l.zero = chunk[n-1] == delimiter
		*from = (*from)[n:]
		l.stats.BytesOut += uint64(n)
	}
}

// makeOwn encodes the own frames that are due.
func (l *line) makeOwn() []byte {
	body, n := &l.body, 0
	if l.due&dueHello != 0 {
		h := l.greeting
		h.session, h.peer, h.ask = l.session, l.peer, l.due&dueAsk != 0
		h.put((*[helloSize]byte)(body[:]))
		n += encodeBody(l.scratch[n:], body[:], helloSize)
		l.stats.Hellos++
	}
	if l.due&dueAck != 0 {
		a := l.ack()
		a.put((*[ackSize]byte)(body[:]))
		n += encodeBody(l.scratch[n:], body[:], ackSize)
		l.stats.Acks++
	}
	if l.due&dueBye != 0 {
		putBye((*[byeSize]byte)(body[:]), byeClosed, l.session)
		n += encodeBody(l.scratch[n:], body[:], byeSize)
	}
	l.due = 0
	return l.scratch[:n]
}

// byes is how often a side says that it ends: nobody will ask again.
const byes = 3

// sayBye gives up what is not written, says farewell, and ends a socket. It
// does not wait: on a line that takes nothing the farewell is lost, and the
// peer must notice by other signs. The caller holds mu.
func (l *line) sayBye() {
	l.data, l.more = nil, nil
	if l.peer != 0 && l.cause.Load() == nil {
		l.zero = true // a frame cut off here is dropped: it has no right checksum
		for range byes {
			if l.due, l.own = l.due|dueBye, nil; l.gone == nil {
				l.push()
			}
		}
	}
	l.own, l.due = nil, 0
	_ = unix.Shutdown(l.fd, unix.SHUT_RDWR) // no socket: no matter
	if l.gone == nil {
		l.gone = link.ErrClosed
	}
}

// waiting reports whether own frames wait for room on the line. The caller
// holds mu.
func (l *line) waiting() bool {
	return l.gone == nil && (len(l.own) > 0 || l.due != 0)
}

// heard handles a hello of an established connection. The caller holds mu.
func (l *line) heard(h hello) {
	switch {
	case h.session == l.session:
		l.stats.Echoes++
	case h.session != l.peer:
		l.end(fmt.Errorf("%w: the other side started anew; connect again", link.ErrPeerGone))
	case h.ask:
		l.due |= dueHello
		l.push()
	}
}

// parted handles a farewell.
func (l *line) parted(session uint32) {
	if session == l.peer {
		l.end(fmt.Errorf("%w: it closed the connection", link.ErrPeerGone))
	} else {
		l.stats.Stray++
	}
}

// died handles the end of the stream.
func (l *line) died(err error) {
	if err == nil || err == unix.EIO {
		l.end(fmt.Errorf("%w: the line was unplugged or closed", link.ErrPeerGone))
		return
	}
	l.end(fmt.Errorf("%w: reading the line: %w", link.ErrPeerGone, err))
}
