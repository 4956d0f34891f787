package rpc

import (
	"errors"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// Relay takes what a [Server] does not serve itself and passes it on to whoever
// does: package rpc/forward has one. It sees the application channel alone;
// what a server says about its services ([Server.Announce]) is the server's.
type Relay interface {
	// Attach is called once for a link that the server serves, on its engine's
	// thread, before anything of it is offered. nil: nothing of this link is
	// relayed.
	Attach(p *engine.Port) RelayLink
}

// RelayLink is what a [Relay] knows of one of a server's links. Its methods run
// on the engine's thread.
type RelayLink interface {
	// Offer offers a vesicle, or a piece of one, that the server has no method
	// for. taken false: it isn't the relay's either. An error that wraps
	// link.ErrFull: not yet; nothing was done that may not be done again, and
	// the same vesicle is offered next. With another error a request is
	// answered, and anything else is dropped. v may be read until Offer
	// returns.
	Offer(v *wire.Vesicle) (taken bool, err error)
	// UnderWay reports whether the request of h's correlation and fingerprint
	// belongs to a call that the relay has begun: a server that drains offers
	// the rest of that, and no other requests.
	UnderWay(h *wire.Header) bool
	// Detach is called once, when the link has ended.
	Detach()
}

// relayed offers a vesicle to the server's relay. waits: it is to be offered
// again, since where it goes there is no room.
func (s *serverLink) relayed(v *wire.Vesicle) (taken, waits bool) {
	h := &v.Header
	if h.Channel != wire.ChannelApplication || s.table.find(h.Fingerprint) != nil {
		return false, false
	}
	if h.Kind == wire.KindRequest && s.server.draining.Load() && (s.relay == nil || !s.relay.UnderWay(h)) {
		return false, false
	}
	if !s.attached {
		s.attached = true
		s.relay = s.server.opts.Relay.Attach(s.port)
	}
	if s.relay == nil {
		return false, false
	}
	taken, err := s.relay.Offer(v)
	switch {
	case !taken || err == nil:
	case errors.Is(err, link.ErrFull):
		return true, true
	case h.Kind != wire.KindRequest:
	case err == ErrUnserved:
		s.stats.requests++
		s.unserved(h)
	default:
		s.stats.requests++
		s.fail(h, err)
	}
	return taken, false
}
