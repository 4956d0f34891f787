package afxdp

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/nexthop"
	"github.com/cell-runtime/cell/afxdp/packet"
	"github.com/cell-runtime/cell/afxdp/xsk"
)

// xdpMedium moves one connection's datagrams through a station.
type xdpMedium struct {
	station  *station
	flow     packet.Flow
	index    int // of the interface
	watcher  *nexthop.Watcher
	detour   *detour
	checksum bool

	// Sending. These and the inbox are touched under the station's lock.
	path     *nexthop.Path // that template was made of
	template *packet.Template
	version  uint32 // of template
	direct   bool   // path is ready
	longest  int    // datagram that fits the path's MTU
	free     []*outFrame
	spare    []*outFrame // kept for control

	// Receiving.
	parser     *packet.Parser
	inbox      []inFrame // what other connections have taken off the rings
	inboxFirst int
	bell       int // eventfd: rung when the inbox gets something
	rung       bool
	barren     int       // receives that found nothing since the clock was looked at
	looked     time.Time // at detour
	everywhere bool      // the next receive looks everywhere
	counts     XDPCounts
	closed     bool
	done       []uint64 // received, and given back by the connection
}

// XDPCounts counts what became of frames of a connection over AF_XDP.
type XDPCounts struct {
	Sent, Received uint64 // datagrams past the kernel
	Joined         uint64 // of those received: put together of several frames
	// Detoured and Arrived went and came by the kernel's own UDP socket.
	Detoured, Arrived uint64
	Damaged           uint64 // frames of this flow that were cut short or wrong
	Checksums         uint64 // of those: with a wrong checksum
	Crowded           uint64 // dropped: another connection had taken them, and this one did not look
	Paths             uint64 // times that the way to the peer was found or has changed
}

const (
	// controlFrames are kept for datagrams that must go when all others are
	// under way.
	controlFrames = 16
	// detourPace is how long the kernel's own socket is not looked at by who finds
	// nothing, and clockPace how many times that is before the clock is read.
	detourPace = 200 * time.Microsecond
	clockPace  = 16
	// detourFrame marks the id of a datagram that came by detour.
	detourFrame = 1 << 63

	sendRoom = 128 // before a datagram; at least packet.MaxHeaders and metadata
)

var _ = [1]struct{}{}[max(0, packet.MaxHeaders+xsk.MetadataSize-sendRoom)]

func newXDPMedium(checksum bool) (*xdpMedium, error) {
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return &xdpMedium{detour: &detour{sock: -1}, bell: bell, checksum: checksum, everywhere: true, done: make([]uint64, 0, doneBatch)}, err
}

// framesFor is how many frames a connection needs to send.
func framesFor(o *Options) int { return o.Window + sendBatch + controlFrames }

// allot takes frames to send from.
func (m *xdpMedium) allot(n, datagram int) {
	s := m.station
	m.free = make([]*outFrame, 0, n)
	m.spare = make([]*outFrame, 0, controlFrames)
	m.inbox = make([]inFrame, 0, s.window+receiveBatch)
	for _, i := range s.idle[len(s.idle)-n:] {
		f := &s.sending[i]
		*f = sendFrame{owner: m, out: outFrame{id: uint64(i), buf: s.sockets.Packet(xsk.Desc{Address: s.sendAt(i) + sendRoom, Length: uint32(datagram)})}}
		m.keep(f)
	}
	s.idle = s.idle[:len(s.idle)-n]
}

func (m *xdpMedium) fds() (all []int) {
	for _, s := range m.station.queues {
		all = append(all, s.FD())
	}
	return append(all, m.detour.sock, m.bell)
}

func (m *xdpMedium) starved() bool { return false }

func (m *xdpMedium) rouse() { m.everywhere = true }

// tend looks whether the program is still attached, and has the kernel look
// whether a silent peer is still at its MAC address.
func (m *xdpMedium) tend(silent bool) {
	if attached, err := m.station.redirect.Attached(); err == nil {
		m.station.mu.Lock()
		m.station.missing = !attached
		m.station.mu.Unlock()
	}
	if silent {
		m.watcher.Ask(true)
	}
}

func (m *xdpMedium) close() error {
	if m.closed {
		return nil
	}
	m.closed = true
	var errs []error
	if m.station != nil {
		errs = append(errs, m.station.leave(m))
	}
	if m.watcher != nil {
		errs = append(errs, m.watcher.Close())
	}
	if m.bell >= 0 {
		errs = append(errs, unix.Close(m.bell))
	}
	return errors.Join(append(errs, m.detour.close())...)
}
