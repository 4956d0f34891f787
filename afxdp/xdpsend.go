package afxdp

import (
	"github.com/cell-runtime/cell/afxdp/packet"
	"github.com/cell-runtime/cell/afxdp/xsk"
)

func (m *xdpMedium) grab() *outFrame {
	m.station.mu.Lock()
	if len(m.free) == 0 {
		m.station.reclaim()
	}
	f := pop(&m.free)
	m.station.mu.Unlock()
	return f
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
	m.giveBack(f)
	m.station.mu.Unlock()
}

func (m *xdpMedium) putAll(fs []*outFrame) {
	m.station.mu.Lock()
	for i := len(fs) - 1; i >= 0; i-- {
		m.giveBack(fs[i])
	}
	m.station.mu.Unlock()
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

// frame writes the headers before a datagram, fills in where the packet is, a
// descriptor for each frame of memory, and returns how many there are.
func (m *xdpMedium) frame(f *outFrame, ds []xsk.Desc) int {
	s := m.station
	k := &s.sending[f.id]
	d := xsk.Desc{Address: s.sendAt(int(f.id)) + uint64(sendRoom-m.template.Size()), Length: uint32(m.template.Size() + f.n)}
	b := s.sockets.Packet(d)
	if k.version != m.version {
		m.template.Copy(b)
		k.version = m.version
	}
	if s.metadata && m.checksum {
		ask := xsk.Metadata(s.sockets.Packet(xsk.Desc{Address: d.Address - xsk.MetadataSize, Length: xsk.MetadataSize}))
		ask.Clear()
		ask.AskChecksum(m.template.FinishPartial(b))
		d.Options = xsk.OptionMetadata
	} else {
		m.template.Finish(b, m.checksum)
	}
	if s.span == 1 {
		ds[0], k.parts = d, 1
	} else {
		k.parts = d.Parts(s.frameSize, ds)
	}
	return k.parts
}

// frames does frame for the first datagrams of fs, as far as they may go past the
// kernel now, and returns how many, and how many descriptors there are.
func (m *xdpMedium) frames(fs []*outFrame) (n, descs int) {
	s := m.station
	for m.direct && n < len(fs) && len(s.descs)-descs >= s.span && fs[n].n <= m.longest {
		descs += m.frame(fs[n], s.descs[descs:])
		n++
	}
	return n, descs
}

// handed notes that the kernel has the first descs descriptors of fs, and returns
// how many datagrams that is. The ring has room for the whole of a datagram or
// for none: openQueues sees to it.
func (m *xdpMedium) handed(fs []*outFrame, descs int) (n int) {
	for n < len(fs) && descs > 0 {
		fs[n].busy = true
		descs -= m.station.sending[fs[n].id].parts
		n++
	}
	m.counts.Sent += uint64(n)
	return n
}

func (m *xdpMedium) send(fs []*outFrame) (n int, err error) {
	m.station.mu.Lock()
	n, err = m.sendLocked(fs)
	m.station.mu.Unlock()
	return n, err
}

func (m *xdpMedium) sendLocked(fs []*outFrame) (n int, err error) {
	s := m.station
	m.follow()
	s.reclaim()
	for n < len(fs) {
		k, descs := m.frames(fs[n:])
		if k == 0 {
			sent, err := m.detour.send(fs[n].buf[:fs[n].n])
			if !sent || err != nil {
				return n, err
			}
			m.counts.Detoured++
			n++
			continue
		}
		took := m.handed(fs[n:n+k], s.queues[0].Transmit(s.descs[:descs]))
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
			if s.queues[0].Transmit(s.descs[:m.frame(f, s.descs[:])]) > 0 {
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
