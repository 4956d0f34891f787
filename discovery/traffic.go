package discovery

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"
)

// do carries out what the machine wants.
func (a *Agent) do(actions []Action) {
	for i := range actions {
		switch x := &actions[i]; x.Kind {
		case SendTo:
			a.sendTo(x.To, x.Data)
		case SendGroup:
			a.sendGroup(x.Data)
		case SendLink:
			if send := a.links[x.Peer]; send != nil {
				if send(x.Data) != nil {
					a.failed.Add(1)
				}
			}
		case Tell:
			for w := range a.watchers {
				w.add(x.Event)
			}
			a.o.Logger.Info("peer "+x.Event.Kind.String(), "node", x.Event.Peer.ID.Short(), "name", nameOf(&x.Event.Peer), "addr", x.Event.Peer.Addr)
		}
	}
}

func nameOf(p *Peer) string {
	if p.Beacon == nil {
		return ""
	}
	return p.Beacon.Name
}

func (a *Agent) sendTo(to netip.AddrPort, data []byte) {
	s := a.send4
	if to.Addr().Is6() && !to.Addr().Is4In6() {
		s = a.send6
	}
	if s == nil {
		a.failed.Add(1)
		return
	}
	if _, err := s.conn.WriteToUDPAddrPort(data, to); err != nil {
		a.failed.Add(1)
	}
}

func (a *Agent) sendGroup(data []byte) {
	port := uint16(a.o.Port)
	sent := func(err error) {
		if err != nil {
			a.failed.Add(1)
		}
	}
	for i := range a.nics {
		n := &a.nics[i]
		multicast := n.multicast && !a.o.NoMulticast
		if multicast && n.four && a.send4 != nil {
			sent(a.send4.sendOn(n.index, netip.AddrPortFrom(addrGroup4, port), data))
		}
		if multicast && n.six && a.send6 != nil {
			sent(a.send6.sendOn(n.index, netip.AddrPortFrom(addrGroup6.WithZone(n.name), port), data))
		}
		if (a.o.Broadcast || !n.multicast) && a.send4 != nil {
			for _, b := range n.broadcast {
				sent(a.send4.sendOn(n.index, netip.AddrPortFrom(b, port), data))
			}
		}
	}
	for _, to := range *a.seeds.Load() {
		a.sendTo(to, data)
	}
}

// patience is what a socket may read in vain.
type patience struct {
	most    int // in slice
	vain    int
	sifting bool
	until   time.Time // when a new slice begins
}

// slice is how long a socket may rest.
const slice = 10 * time.Millisecond

// siftedVain is how much more may be read in vain, while the kernel sifts, in one
// turn: what was in the queue already.
const siftedVain = 6

// receive reads one socket until it is closed. Where too much comes in vain the
// kernel sifts it, and where that doesn't help the socket rests: the kernel drops
// what does not fit the queue, for less.
func (a *Agent) receive(s *socket) {
	buffer, control := make([]byte, MaxPacket+1), make([]byte, controlSize)
	p := patience{most: max(1, a.o.DropsPerSecond/100), until: time.Now().Add(slice)}
	for {
		n, nc, _, from, err := s.conn.ReadMsgUDPAddrPort(buffer, control)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			a.calm(s, &p)
			continue
		case err != nil:
			if a.pause(slice) {
				return
			}
			continue // an error of the network that a datagram met
		}
		if a.step(&Packet{Data: buffer[:n], From: from, Group: s.toGroup(control[:nc])}) {
			continue
		}
		if p.vain++; p.vain >= p.most && a.rest(s, &p) {
			return
		}
	}
}

// rest keeps a flood from being read. It reports whether the agent has ended.
func (a *Agent) rest(s *socket, p *patience) (ended bool) {
	left := time.Until(p.until)
	switch {
	case left <= 0:
		a.calm(s, p)
		return false
	case !p.sifting && a.sift(s, true):
		a.sifted.Add(1)
		p.sifting, p.until = true, time.Now().Add(siftFor)
		p.vain = -siftedVain * p.most
		_ = s.conn.SetReadDeadline(p.until)
		return false
	}
	a.rested.Add(1)
	ended = a.pause(min(left, slice))
	if p.vain = 0; !p.sifting || time.Now().After(p.until) {
		a.calm(s, p)
	}
	return ended
}

// calm begins a new slice, in which everything is read.
func (a *Agent) calm(s *socket, p *patience) {
	if p.sifting {
		a.sift(s, false)
		_ = s.conn.SetReadDeadline(time.Time{})
	}
	p.vain, p.sifting, p.until = 0, false, time.Now().Add(slice)
}

// pause waits and reports whether the agent has ended.
func (a *Agent) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return false
	case <-a.ended:
		return true
	}
}
