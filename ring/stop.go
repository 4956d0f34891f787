package ring

import "sync/atomic"

// stopState says whether one side still works, and why not. Any goroutine may
// stop it; the owner reads it once a call.
type stopState struct{ reason uint32 } // atomic; a bare word, or Poll would not inline

const (
	stopClosed  = 1
	stopPeer    = 2
	stopCorrupt = 3
)

// stop records the first reason; later ones change nothing.
func (s *stopState) stop(reason uint32) { atomic.CompareAndSwapUint32(&s.reason, 0, reason) }

// err inlines to one load on the path where nothing is wrong.
func (s *stopState) err() error {
	if atomic.LoadUint32(&s.reason) == 0 {
		return nil
	}
	return s.why()
}

func (s *stopState) why() error {
	switch atomic.LoadUint32(&s.reason) {
	case stopPeer:
		return ErrPeerGone
	case stopCorrupt:
		return ErrCorrupt
	}
	return ErrClosed
}

// Stop makes every later Claim and Flush return ErrClosed, or ErrPeerGone if
// peerGone is set, and wakes the producer if it sleeps on its doorbell. It may
// be called from any goroutine; the first reason stays.
func (p *Producer) Stop(peerGone bool) { p.state.stop(reasonOf(peerGone)); _ = p.space.own.Ring() }

// Stop makes every later Poll return ErrClosed at once or, if peerGone is set,
// ErrPeerGone as soon as everything published was polled, and wakes the
// consumer if it sleeps on its doorbell. It may be called from any goroutine;
// the first reason stays.
func (c *Consumer) Stop(peerGone bool) { c.state.stop(reasonOf(peerGone)); _ = c.data.own.Ring() }

func reasonOf(peerGone bool) uint32 {
	if peerGone {
		return stopPeer
	}
	return stopClosed
}
