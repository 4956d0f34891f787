package afxdp

import (
	"net/netip"
	"time"

	"github.com/cell-runtime/cell/afxdp/packet"
	"github.com/cell-runtime/cell/afxdp/xsk"
)

// dismissals bounds how many strangers a station answers in a second.
const dismissals = 100

// stray handles a packet for the port that is no connection's: a stranger's hello
// is for a listener, if there is one. Without one it is left to wait, since
// somebody may be about to connect.
func (s *station) stray(p []byte) {
	s.strays++
	f, ok := packet.FlowOf(p)
	if !ok || f.Local.Port() != s.port {
		return
	}
	listener := listenerAt(listenKey{s.key.namespace, f.Local})
	if listener == nil && !s.mayDismiss() {
		return
	}
	b, err := packet.NewParser(&f, true).Datagram(p)
	if err != nil {
		return
	}
	h, err := getHead(b)
	switch {
	case err != nil:
	case h.kind != typeHello:
		s.dismiss(&f, &h)
	case listener != nil:
		from := f.Remote
		if from.Addr().IsLinkLocalUnicast() && from.Addr().Is6() {
			from = netip.AddrPortFrom(from.Addr().WithZone(s.name), from.Port())
		}
		listener.hear(from, b)
	}
}

// mayDismiss says whether a stranger may be answered now.
func (s *station) mayDismiss() bool {
	if now := time.Now(); now.Sub(s.dismissedSince) > time.Second {
		s.dismissed, s.dismissedSince = 0, now
	}
	return s.dismissed < dismissals && len(s.idle) > 0
}

// dismiss tells the sender of a packet for a connection that is no more that it
// is gone, as the kernel does by ICMP for a port that nobody has. The answer
// carries the sessions that the packet had, so it means nothing to anybody else.
func (s *station) dismiss(f *packet.Flow, h *head) {
	if h.kind == typeBye || h.peer == 0 || !s.mayDismiss() {
		return
	}
	t, err := packet.NewTemplate(f)
	if err != nil {
		return
	}
	s.dismissed++
	i := s.idle[len(s.idle)-1]
	d := xsk.Desc{Address: s.sendAt(i), Length: uint32(t.Size() + headSize)}
	out := s.sockets.Packet(d)
	answer := head{kind: typeBye, session: h.peer, peer: h.session, sequence: h.next, next: h.sequence, limit: h.sequence}
	answer.put(out[t.Size():])
	t.Put(out, true)
	if s.queues[0].Transmit([]xsk.Desc{d}) == 1 {
		s.idle = s.idle[:len(s.idle)-1]
		s.sending[i].out.busy, s.sending[i].parts = true, 1
		_ = s.kick()
	}
}
