package uds

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// A farewell is the last thing that a side writes to the socket: a header-sized
// block whose length no header can have. It tells a close from a death, no
// more: what counts is the end of the socket behind it.
//
//	0 0xFFFFFFFF ─ 4 reason u8 ─ 5 zero ×15
const (
	farewellMark   = 0xFFFFFFFF
	farewellClosed = 1 // the side closed the connection
	farewellBreach = 2 // the side found its peer in breach of the protocol
)

func farewell(reason byte) (b [wire.HeaderSize]byte) {
	binary.LittleEndian.PutUint32(b[:], farewellMark)
	b[4] = reason
	return b
}

// parseFarewell returns the reason, or 0 if b is none.
func parseFarewell(b []byte) byte {
	if len(b) == wire.HeaderSize && b[4] >= farewellClosed && b[4] <= farewellBreach &&
		[wire.HeaderSize]byte(b) == farewell(b[4]) {
		return b[4]
	}
	return 0
}

// The states of a connection, as its own side made them.
const (
	stateOpen   = 0
	stateShut   = 1 // nothing new; memory is still there
	stateClosed = 2 // memory is gone
)

// life is the socket of a connection as the sign of life, and why it ended.
// All of it may be used by several goroutines.
type life struct {
	fd    int
	pid   int
	state atomic.Uint32
	cause atomic.Pointer[ending]

	ear      sync.Mutex // what is read from the socket beside rings
	mu       sync.Mutex // what is written to the socket, and its end
	midFrame bool       // the peer has only a part of a vesicle
	ended    bool
}

// ending is why the connection ended by other than this side's wish.
type ending struct{ err error }

// end records the first cause and returns the one recorded.
func (l *life) end(err error) error {
	l.cause.CompareAndSwap(nil, &ending{err})
	return l.cause.Load().err
}

// why explains an error by which a call failed because the link has ended; nil
// stays nil.
func (l *life) why(err error) error {
	if err == nil {
		return nil
	}
	if l.state.Load() != stateOpen {
		return link.ErrClosed
	}
	if c := l.cause.Load(); c != nil {
		return c.err
	}
	return err
}

// died, left and breached make the errors of an ending.
func (l *life) died() error {
	return l.end(fmt.Errorf("%w: process %d died, its socket closed without a farewell", link.ErrPeerGone, l.pid))
}

func (l *life) left(reason byte) error {
	if reason == farewellBreach {
		return l.end(fmt.Errorf("%w: process %d closed the connection because it found this side in breach of the protocol", link.ErrPeerGone, l.pid))
	}
	return l.end(fmt.Errorf("%w: process %d closed the connection", link.ErrPeerGone, l.pid))
}

// takenBack: b, in the place of the first byte of the connection, begins with a
// refusal. The dialer's accept and the listener's refusal, since its time was up or
// it is closing, have crossed on the way.
func (l *life) takenBack(b []byte) error {
	why := "it gave up on the handshake"
	if _, reason, err := parseRefusal(b[prefixSize:]); err == nil {
		why = reason
	}
	return l.end(fmt.Errorf("%w: process %d refused the connection after all: %s", link.ErrPeerGone, l.pid, why))
}

// isRefusal reports whether b begins with a refusal, which nothing that a
// connection carries does.
func isRefusal(b []byte) bool {
	return len(b) >= prefixSize && string(b[:len(magic)]) == magic && b[len(magic)] == byte(kindRefuse)
}

func (l *life) breached(what string) error {
	err := l.end(fmt.Errorf("%w: process %d %s", link.ErrCorrupt, l.pid, what))
	l.sayFarewell(farewellBreach)
	return err
}

// sayFarewell ends the socket: the peer, and sleepers of this side, wake.
func (l *life) sayFarewell(reason byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	if !l.midFrame {
		b := farewell(reason)
		_, _ = send(l.fd, b[:]) // a socket too full for it ends as by a death
	}
	_ = unix.Shutdown(l.fd, unix.SHUT_RDWR)
}

// Beside rings the socket is the doorbell, too: a byte of ringByte wakes a half
// that sleeps. Either side made its own end (by socket(2) and by accept(2)), so the
// peer has no descriptor of the one that this side reads from; see ring.Doorbell
// for why that matters. Of a socket that somebody else made and handed over (a
// node's, an inherited one) that one must be trusted.
const (
	ringByte = 1
	// mostRings is how many rings may wait to be heard. An honest peer rings once
	// for each sleep of either half, and whoever wakes hears them all.
	mostRings = 64
)

// hear takes in, by one system call, what the peer wrote to a socket that carries
// nothing but rings and a farewell. It reports whether the doorbell rang; for
// which half nobody can tell.
func (l *life) hear() (rang bool, err error) {
	l.ear.Lock() // or one half could find the end, the other still holding the farewell
	defer l.ear.Unlock()
	var b [mostRings + wire.HeaderSize]byte
	n, e := recv(l.fd, b[:], 0)
	switch {
	case e == unix.EAGAIN || e == unix.EINTR:
		return false, nil
	case e != 0 || n == 0:
		return false, l.died() // the end of the socket, or ECONNRESET
	}
	rings := 0
	for rings < n && b[rings] == ringByte {
		rings++
	}
	reason := parseFarewell(b[rings:n])
	switch {
	case reason != 0:
		err = l.left(reason)
		_ = unix.Shutdown(l.fd, unix.SHUT_RDWR) // so that whoever sleeps on it wakes, the farewell being gone
	case rings == 0 && isRefusal(b[:n]):
		err = l.takenBack(slices.Clone(b[:n])) // so that b stays on the stack
		_ = unix.Shutdown(l.fd, unix.SHUT_RDWR)
	case rings > mostRings:
		err = l.breached("rang without end")
	case rings < n:
		err = l.breached("wrote to the socket what is neither a ring nor a farewell")
	}
	return rings > 0, err
}

// A side that spins learns of the peer's end by looking at the socket now and
// then: after silentPolls polls that brought nothing it looks at the clock, and
// when that is lookInterval on, at the socket. That is a system call every half
// millisecond of silence, and none while vesicles flow.
const (
	silentPolls  = 256
	lookInterval = 500 * time.Microsecond
)

// silence counts calls of one half that brought nothing.
type silence struct {
	calls uint32
	last  time.Time
}

// due reports whether to look at the socket; call it every silentPolls calls.
func (s *silence) due() bool {
	now := time.Now()
	if now.Sub(s.last) < lookInterval {
		return false
	}
	s.last = now
	return true
}
