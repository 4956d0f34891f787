package afxdp

import (
	"github.com/cell-runtime/cell/afxdp/packet"
	"github.com/cell-runtime/cell/afxdp/xsk"
)

func (m *xdpMedium) grab() *outFrame {
	m.station.mu.Lock()
	defer m.station.mu.Unlock()
	if len(m.free) == 0 {
		m.station.reclaim()
	}
	return pop(&m.free)
}

func pop(from *[]*outFrame) *outFrame {
	last := len(*from) - 1
	if last < 0 {
		return nil
	}
	f := (*from)[last]
	*from = (*from)[:last]
	f.reset()
	return f
}

func (m *xdpMedium) put(f *outFrame) {
	m.station.mu.Lock()
	defer m.station.mu.Unlock()
	m.giveBack(f)
}

func (m *xdpMedium) giveBack(f *outFrame) {
	k := &m.station.sending[f.id]
	if f.busy {
		k.returned = true
		return
	}
	m.keep(k)
}

// keep puts a frame that nobody reads where it will be taken from.
func (m *xdpMedium) keep(f *sendFrame) {
	if len(m.spare) < controlFrames {
		m.spare = append(m.spare, &f.out)
		return
	}
	m.free = append(m.free, &f.out)
}

func (m *xdpMedium) reclaim() {
	m.station.mu.Lock()
	defer m.station.mu.Unlock()
	m.station.reclaim()
}

// follow takes over what has become known of the way to the peer.
func (m *xdpMedium) follow() {
	p := m.watcher.Path()
	if p == m.path {
		return
	}
	m.path = p
	m.counts.Paths++
	m.flow.LocalMAC, m.flow.RemoteMAC = p.LocalMAC, p.RemoteMAC
	t, err := packet.NewTemplate(&m.flow)
	m.direct = err == nil && p.Ready() && p.Interface == m.index && p.VLAN == m.flow.VLAN
	if err != nil { // it has been made of the same addresses before
		return
	}
	m.template = t
	m.version++
	m.longest = p.MTU - ipHeaders(m.flow.Remote.Addr().Is6())
}

// ipHeaders are those of IP and UDP.
func ipHeaders(v6 bool) int {
	if v6 {
		return 48
	}
	return 28
}

// frame writes the headers before a datagram and returns where the packet is.
func (m *xdpMedium) frame(f *outFrame) xsk.Desc {
	s := m.station
	k := &s.sending[f.id]
	address := uint64(s.receiving+int(f.id)) * uint64(s.frameSize)
	d := xsk.Desc{Address: address + uint64(sendRoom-m.template.Size()), Length: uint32(m.template.Size() + f.n)}
	b := s.sockets.Packet(d)
	if k.version == m.version {
		m.template.Finish(b, m.checksum)
	} else {
		m.template.Put(b, m.checksum)
		k.version = m.version
	}
	return d
}

func (m *xdpMedium) send(fs []*outFrame) (n int, err error) {
	s := m.station
	s.mu.Lock()
	defer s.mu.Unlock()
	m.follow()
	s.reclaim()
	for n < len(fs) {
		k := 0
		for m.direct && n+k < len(fs) && k < len(s.descs) && fs[n+k].n <= m.longest {
			s.descs[k] = m.frame(fs[n+k])
			k++
		}
		if k == 0 {
			sent, err := m.detour.send(fs[n].buf[:fs[n].n])
			if !sent || err != nil {
				return n, err
			}
			m.counts.Detoured++
			n++
			continue
		}
		took := s.queues[0].Transmit(s.descs[:k])
		for _, f := range fs[n : n+took] {
			f.busy = true
		}
		m.counts.Sent += uint64(took)
		n += took
		if err := s.kick(); err != nil || took < k {
			return n, err
		}
	}
	return n, nil
}

func (m *xdpMedium) control(b []byte) error {
	s := m.station
	s.mu.Lock()
	defer s.mu.Unlock()
	m.follow()
	if m.direct && len(b) <= m.longest {
		if len(m.spare) == 0 {
			s.reclaim()
		}
		if f := pop(&m.spare); f != nil {
			f.n = copy(f.buf, b)
			s.descs[0] = m.frame(f)
			if s.queues[0].Transmit(s.descs[:1]) == 1 {
				f.busy = true
				m.counts.Sent++
			}
			m.giveBack(f)
			return s.kick()
		}
	}
	m.counts.Detoured++
	_, err := m.detour.send(b)
	return err
}
