package afxdp

import (
	"time"

	"github.com/cell-runtime/cell/afxdp/packet"
	"github.com/cell-runtime/cell/afxdp/xsk"
)

// dismissals bounds how many strangers a station answers in a second.
const dismissals = 100

// dismiss tells the sender of a packet for a connection that is no more that it
// is gone, as the kernel does by ICMP for a port that nobody has. The answer
// carries the sessions that the packet had, so it means nothing to anybody else.
// A stranger that says hello is left to wait: somebody may be about to connect.
func (s *station) dismiss(p []byte) {
	if now := time.Now(); now.Sub(s.dismissedSince) > time.Second {
		s.dismissed, s.dismissedSince = 0, now
	}
	if s.dismissed == dismissals || len(s.idle) == 0 {
		return
	}
	f, ok := packet.FlowOf(p)
	if !ok || f.Local.Port() != s.port {
		return
	}
	b, err := packet.NewParser(&f, true).Datagram(p)
	if err != nil {
		return
	}
	h, err := getHead(b)
	if err != nil || h.kind == typeHello || h.kind == typeBye || h.peer == 0 {
		return
	}
	t, err := packet.NewTemplate(&f)
	if err != nil {
		return
	}
	s.dismissed++
	i := s.idle[len(s.idle)-1]
	d := xsk.Desc{Address: uint64(s.receiving+i) * uint64(s.frameSize), Length: uint32(t.Size() + headSize)}
	out := s.sockets.Packet(d)
	answer := head{kind: typeBye, session: h.peer, peer: h.session, sequence: h.next, next: h.sequence, limit: h.sequence}
	answer.put(out[t.Size():])
	t.Put(out, true)
	if s.queues[0].Transmit([]xsk.Desc{d}) == 1 {
		s.idle = s.idle[:len(s.idle)-1]
		s.sending[i].out.busy = true
		_ = s.kick()
	}
}
