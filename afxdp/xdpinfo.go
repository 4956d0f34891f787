package afxdp

import (
	"errors"

	"github.com/cell-runtime/cell/afxdp/nexthop"
	"github.com/cell-runtime/cell/afxdp/xsk"
	"github.com/cell-runtime/cell/ebpf"
)

// XDPReport is how a connection over AF_XDP fares.
type XDPReport struct {
	XDPCounts
	Path     nexthop.Path // the way to the peer, as the kernel knows it
	Direct   bool         // datagrams go past the kernel now
	Generic  bool         // the program runs behind the driver
	ZeroCopy bool
	Offloads bool // the device is asked to make UDP's checksums
	Queues   int
	Detached bool // somebody has detached the program; datagrams come by the kernel's way
	// Of all connections over the interface:
	Strays  uint64 // packets for the port that belong to no connection
	Sockets xsk.Stats
	Program ebpf.RedirectStats
}

// XDP reports on a connection over AF_XDP; ok is false for one over an ordinary
// socket.
func (c *Conn) XDP() (r XDPReport, ok bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.medium.(*xdpMedium)
	if !ok || m.closed {
		return r, false, nil
	}
	s := m.station
	s.mu.Lock()
	defer s.mu.Unlock()
	r = XDPReport{XDPCounts: m.counts, Path: *m.watcher.Path(), Direct: m.direct, Generic: s.generic, ZeroCopy: s.zeroCopy, Offloads: s.metadata,
		Queues: len(s.queues), Detached: s.missing, Strays: s.strays}
	var e1, e2 error
	r.Sockets, e1 = s.sockets.Stats()
	r.Program, e2 = s.redirect.Stats()
	return r, true, errors.Join(e1, e2)
}
