package rpc

import (
	"errors"
	"time"

	"github.com/cell-runtime/cell/wire"
)

// A server that drains says so with every call that it refuses, and goes on
// with those that it has accepted. A connection that can dial leaves it then:
// calls from now on go over another link, to whoever has taken the server's
// place; the old link stays until what is under way on it has ended.

// errLeft is why a session ends whose server drained.
var errLeft = errors.New("rpc: the server was draining, so another link is used")

const (
	leavePace = 5 * time.Millisecond
	// settleTime is how long a link must have lasted before it is left without
	// a pause. Where the place of a server that drains is taken by nobody, each
	// new link leads back to it.
	settleTime = 50 * time.Millisecond
)

// drains notes what an error of the server says about its draining.
func (s *session) drains(e *Error) {
	if e.Status == wire.StatusDraining && s.conn.dialing.dial != nil {
		s.draining.Store(true)
	}
}

// leaves reports whether a call failed because its server drains, or because
// such a server was left and it is too early for another link.
func leaves(err error) bool {
	e, ok := err.(*Error) // this package's own, unwrapped
	return ok && (e.Remote && e.Status == wire.StatusDraining || errors.Is(e.cause, errLeft))
}

// usable reports whether calls may be sent over a session.
func (s *session) usable() bool { return s.dead.Load() == nil && !s.draining.Load() }

// leave frees a session that is not used any more, as soon as no call is under
// way on it, or its link ends.
func (s *session) leave() {
	for s.dead.Load() == nil && !s.finished() {
		time.Sleep(leavePace)
	}
	s.close()
}

// finished ends the session if no call is under way, so that none can begin.
func (s *session) finished() bool {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	for i := range s.table.slots[:s.table.high.Load()] {
		switch s.table.slots[i].word.Load() & phaseMask {
		case phaseWaiting, phaseFilling, phaseDone:
			return false
		}
	}
	s.dead.CompareAndSwap(nil, &deadLink{errLeft})
	return true
}
