package quic

import (
	"crypto/tls"
	"sync"
	"time"

	"github.com/cell-runtime/cell/identity"
)

// vigil asks whether the peer of a connection is still let in: at its start,
// when something calls check, and when the ground on which it was let in ends.
type vigil struct {
	trust *identity.Trust
	state tls.ConnectionState // of the handshake; what the peer has shown
	end   func(error)         // the peer is no longer let in

	mu    sync.Mutex
	timer *time.Timer
	leave func() // the trust's watchers
	over  bool
}

const (
	// vigilMost is the longest time between two looks while a ground has an
	// end: a timer doesn't count while the host is suspended, nor know of a
	// clock that is set.
	vigilMost = time.Minute
	// vigilLeast bounds them where clocks disagree about the end.
	vigilLeast = 10 * time.Millisecond
)

// watch has every change of the trust's rules looked at until stop.
func (v *vigil) watch() {
	leave := v.trust.Watch(v.check)
	v.mu.Lock()
	over := v.over
	if !over {
		v.leave = leave
	}
	v.mu.Unlock()
	if over {
		leave()
	}
}

// check looks, and sets the timer anew: the ground may be another one, or end
// at another time.
func (v *vigil) check() {
	v.mu.Lock()
	if v.over {
		v.mu.Unlock()
		return
	}
	// Under the lock, so that the timer is by the latest answer.
	p, err := v.trust.CheckConnection(v.state)
	if v.timer != nil {
		v.timer.Stop()
	}
	if err == nil && !p.Until.IsZero() {
		v.timer = time.AfterFunc(min(max(time.Until(p.Until), vigilLeast), vigilMost), v.check)
	}
	v.mu.Unlock()
	if err != nil {
		v.end(err)
	}
}

// stop ends the vigil.
func (v *vigil) stop() {
	v.mu.Lock()
	v.over = true
	if v.timer != nil {
		v.timer.Stop()
	}
	leave := v.leave
	v.leave = nil
	v.mu.Unlock()
	if leave != nil {
		leave()
	}
}
