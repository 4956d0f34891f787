package afxdp

import (
	"fmt"
	"time"
)

// Options sets up one end of a connection. Zero fields get the default.
type Options struct {
	// Reliable: every vesicle arrives, once and in order, as long as the
	// connection lives. Both ends must say the same.
	Reliable bool
	// Datagram is the most bytes of one datagram, without the headers of UDP
	// and IP. The default is what the path's MTU allows, 8,972 at most; over
	// AF_XDP what fits one frame of memory, besides. The connection uses the
	// lesser of what its two ends say.
	Datagram int
	// Window is how many datagrams may be under way, and how many received
	// ones may wait to be polled and released; default 256, 16 to 4,096.
	Window int
	// KeepAlive is how long a peer may be silent before it is asked for a sign
	// of life; default 1 s.
	KeepAlive time.Duration
	// Patience is how many times in a row it may fail to answer; default 5.
	Patience int
	// BusyPoll is how long the kernel itself may look at the NIC's queue in a
	// receive that finds nothing (SO_BUSY_POLL); default 0. Raising it needs
	// CAP_NET_ADMIN.
	BusyPoll time.Duration
	// NoOffload has every datagram take the way through the kernel alone. By
	// default datagrams of one length that follow each other go as one message
	// (UDP_SEGMENT), and arrive as one (UDP_GRO), where the kernel can do that.
	NoOffload bool
	// Bulk says that vesicles come in great numbers or sizes rather than one by
	// one, so that what matters is how many get through: [Dial] takes an ordinary
	// socket with offloads where it carries more than AF_XDP, between virtual
	// interfaces of one host, and Info().Why says so. Set it on both ends.
	Bulk bool
	// XDP is for [Dial] alone.
	XDP XDPOptions

	// whole: the peer is to send each datagram by itself. A program behind the
	// driver of a virtual interface sees what the sender's kernel has left for a
	// device to cut up, which none does there, and a socket takes that for one
	// datagram.
	whole bool
}

const (
	defaultDatagram = 9000 - 28
	minWindow       = 16
	maxWindow       = 4096
)

// settle returns o with its defaults filled in; o may be nil.
func (o *Options) settle() (Options, error) {
	var s Options
	if o != nil {
		s = *o
	}
	if s.Window == 0 {
		s.Window = 256
	}
	if s.KeepAlive == 0 {
		s.KeepAlive = time.Second
	}
	if s.Patience == 0 {
		s.Patience = 5
	}
	switch {
	case s.Datagram != 0 && (s.Datagram < minDatagram || s.Datagram > maxDatagram):
		return s, fmt.Errorf("afxdp: Options.Datagram is %d; it must be %d to %d bytes, or 0 for what the path allows", s.Datagram, minDatagram, maxDatagram)
	case s.Window < minWindow || s.Window > maxWindow:
		return s, fmt.Errorf("afxdp: Options.Window is %d; it must be %d to %d datagrams", s.Window, minWindow, maxWindow)
	case s.KeepAlive < time.Millisecond || s.Patience < 1:
		return s, fmt.Errorf("afxdp: Options.KeepAlive is %v and Patience %d; they must be at least 1 ms and 1", s.KeepAlive, s.Patience)
	case s.BusyPoll < 0 || s.BusyPoll > time.Second:
		return s, fmt.Errorf("afxdp: Options.BusyPoll is %v; it must be 0 to 1 s", s.BusyPoll)
	}
	return s, s.XDP.settle()
}
