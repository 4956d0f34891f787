package quic

import "github.com/cell-runtime/cell/identity"

// Drop closes all connections to a peer that is known to be gone by other means
// than QUIC, which would notice after Options.IdleTimeout: a process that was
// killed, or has started again. Links over them end with link.ErrPeerGone, and
// the next Dial shakes hands anew. It returns how many there were.
func (e *Endpoint) Drop(peer identity.ID) (dropped int) {
	for _, c := range e.all() {
		if c.peer.ID == peer && !c.ended() {
			c.end(codeClosed, "taken for gone")
			dropped++
		}
	}
	return dropped
}

// Known reports whether there is a connection to a peer, a direct one or one by a
// relay, over which [Endpoint.DialKnown] opens links.
func (e *Endpoint) Known(peer identity.ID) bool { return e.connTo(peer) != nil }

// Connected reports whether there is a direct connection to a peer, as far as is
// known.
func (e *Endpoint) Connected(peer identity.ID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.peers[peer]
	return c != nil && !c.ended()
}
