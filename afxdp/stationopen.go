package afxdp

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/nexthop"
	"github.com/cell-runtime/cell/afxdp/packet"
	"github.com/cell-runtime/cell/afxdp/xsk"
	"github.com/cell-runtime/cell/ebpf"
)

const (
	// headroom makes datagrams over IPv4 begin at a multiple of 16 in memory
	// that the kernel has received into: 14 bytes of Ethernet, 20 of IP, 8 of
	// UDP and this; those over IPv6 at a multiple of 4.
	headroom = 6
	// frameOverhead is what a frame holds beside an IP packet: the kernel's
	// room, headroom, Ethernet with a tag.
	frameOverhead = xsk.PacketHeadroom + headroom + 18
	// maxTx is the most that a ring of package xsk holds. With more under way
	// than that, sending waits.
	maxTx = 1 << 16
	// maxFrames bounds the memory of an interface.
	maxFrames = 1 << 20
)

// openStation attaches the program and opens the sockets.
func openStation(key stationKey, flow *packet.Flow, path *nexthop.Path, o *Options) (s *station, err error) {
	s = &station{key: key, name: path.Name, port: flow.Local.Port(), backend: o.XDP.Backend, broker: o.XDP.Broker, frameSize: frameSize(path.MTU, &o.XDP), members: map[packet.Key]*xdpMedium{}}
	s.span = spanOf(s.frameSize, o.Datagram, flow.Remote.Addr().Is6())
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
			s = nil
		}
	}()
	queues, err := s.chooseQueues(path.Name, o)
	if err != nil {
		return s, err
	}
	var handed []int
	s.timedAsked = o.XDP.Timed
	if s.timed = o.XDP.Timed && s.broker == ""; o.XDP.Timed && !s.timed {
		s.untimed("the program is a broker's")
	}
	if s.broker != "" {
		handed, err = s.askBroker(s.broker, queues)
	} else {
		err = s.attach(path, &o.XDP)
	}
	if err != nil {
		return s, err
	}
	return s, s.openQueues(queues, handed, o)
}

// frameSize is the one that was asked for, or the least for an MTU.
func frameSize(mtu int, x *XDPOptions) int {
	switch {
	case x.FrameSize != 0:
		return x.FrameSize
	case mtu+frameOverhead > 2048:
		return 4096
	}
	return 2048
}

// longestIn is the longest datagram that a frame of size bytes holds. What is
// received needs more room beside it than what is sent.
func longestIn(size int, v6 bool) int { return size - frameOverhead - ipHeaders(v6) }

func (s *station) longest(v6 bool) int { return longestIn(s.span*s.frameSize, v6) }

// load loads the program, for packets in several buffers where a driver may have
// such ones. Before Linux 6.6 there are such programs, but no socket gets their
// packets.
func (s *station) load() (*ebpf.Redirect, error) {
	o := ebpf.RedirectOptions{Timed: s.timed}
	if older, known := olderThan(kernelRelease(), 6, 6); s.span == 1 && (s.frameSize <= 2048 || older || !known) {
		return o.Load(s.port)
	}
	o.Frags = true
	r, err := o.Load(s.port)
	if errors.Is(err, ebpf.ErrNotSupported) && s.span == 1 {
		o.Frags = false
		return o.Load(s.port)
	}
	return r, err
}

// untimed notes why there are no times of arrival.
func (s *station) untimed(why string) {
	s.why = append(s.why, fmt.Sprintf("No times of arrival, although Options.XDP.Timed: %s.", why))
}

// attach attaches the program and notes where it runs, and why there.
func (s *station) attach(path *nexthop.Path, x *XDPOptions) error {
	mode := x.Mode
	beside, there, err := ebpf.Dispatcher(path.Interface)
	there = there && err == nil && (mode == ebpf.ModeAuto || mode == beside.Mode)
	if there && s.timed {
		s.timed = false
		s.untimed("libxdp's dispatcher calls the program without them")
	}
	r, err := s.load()
	if err != nil {
		return err
	}
	s.redirect = r
	if there {
		s.generic = beside.Mode == ebpf.ModeGeneric
		s.why = append(s.why, fmt.Sprintf("Mode %v, in which %s has libxdp's dispatcher, beside its other programs.", beside.Mode, path.Name))
		return r.Attach(path.Interface, beside.Mode)
	}
	generic, why := mode == ebpf.ModeGeneric, "Generic mode, behind the driver, was asked for."
	if mode == ebpf.ModeAuto {
		generic, why = chooseMode(path.Type, x.Measure)
	}
	if !generic {
		err := r.Attach(path.Interface, ebpf.ModeDriver)
		if err == nil {
			if mode == ebpf.ModeDriver || why == "" {
				why = fmt.Sprintf("The driver's mode: the driver of %s runs the program.", path.Name)
			}
			s.why = append(s.why, why)
			return nil
		}
		if mode == ebpf.ModeDriver || errors.Is(err, ebpf.ErrOccupied) {
			return err
		}
		why = fmt.Sprintf("Generic mode, behind the driver: the driver of %s does not run the program: %v.", path.Name, err)
	}
	s.generic = true
	s.why = append(s.why, why)
	return r.Attach(path.Interface, ebpf.ModeGeneric)
}

// divide divides up the memory of the interface.
func (s *station) divide(queues int, o *Options) (u xsk.UmemOptions, c xsk.Config, err error) {
	peers := o.XDP.Peers
	perQueue := min(powerOfTwo(2*o.Window*s.span), maxTx)
	sending := peers * framesFor(o)
	tx := uint32(min(powerOfTwo(sending*s.span), maxTx))
	// What connections hold, what they are reading, what waits in their inboxes, and
	// what they have done with.
	held := peers * (2*(o.Window+receiveBatch) + doneBatch)
	s.window, s.receiving = o.Window, queues*perQueue+held
	frames := s.receiving + sending*s.span
	// With more than maxTx the ring might take a part of a datagram.
	if frames > maxFrames || s.span > 1 && sending*s.span > maxTx {
		return u, c, fmt.Errorf("%d frames would be needed, %d for each datagram that is sent, for Options.XDP.Peers of %d and Options.Window of %d; there may be %d, and %d for sending where a datagram takes several; lower one of the two",
			frames, s.span, peers, o.Window, maxFrames, maxTx)
	}
	if s.span > 1 {
		s.joiner = newJoiner(queues, held, s.span*s.frameSize)
		s.why = append(s.why, fmt.Sprintf("Datagrams take up to %d frames of %d bytes, as Options.Datagram of %d needs; those that take several are copied once where they arrive.", s.span, s.frameSize, o.Datagram))
	}
	s.sending, s.idle, s.rest = make([]sendFrame, sending), make([]int, sending), make([]uint64, s.receiving)
	u = xsk.UmemOptions{Frames: frames, FrameSize: s.frameSize, Headroom: headroom, HugePages: o.XDP.HugePages, Spanning: s.span > 1}
	if o.XDP.OffloadChecksum && !o.XDP.NoChecksum {
		u.Metadata = xsk.MetadataSize
	}
	c = xsk.Config{Interface: s.key.index, Rx: uint32(perQueue), Tx: tx, Fill: uint32(perQueue), Completion: tx, NeedWakeup: true, MultiBuffer: s.span > 1}
	return u, c, nil
}

// openQueues opens the sockets, or takes those that were handed over, and has
// the program send packets to them.
func (s *station) openQueues(queues []uint32, handed []int, o *Options) (err error) {
	defer func() {
		if s.sockets == nil {
			for _, fd := range handed {
				_ = unix.Close(fd) // never used
			}
		}
	}()
	copying := xsk.Copying(o.XDP.Copy)
	if s.generic {
		if copying == xsk.CopyNever {
			return fmt.Errorf("%w: zero-copy was asked for, and there is none in generic mode", xsk.ErrNotSupported)
		}
		copying = xsk.CopyAlways
	}
	u, c, err := s.divide(len(queues), o)
	if err != nil {
		return err
	}
	c.Copying, c.FDs = copying, handed
	open, err := backendOf(o.XDP.Backend)
	if err != nil {
		return err
	}
	handed = nil // the backend's from here on
	if err = s.open(open, u, c, queues); err != nil {
		return err
	}
	s.queues = s.sockets.Queues()
	for i := range s.idle {
		s.idle[i] = len(s.idle) - 1 - i
	}
	for i := range s.rest {
		s.rest[i] = uint64(s.receiving-1-i) * uint64(s.frameSize)
	}
	s.refillAt = 1
	for i, q := range s.queues {
		s.wants = append(s.wants, int(c.Fill))
		s.refill(i)
		if err := s.redirect.SetSocket(q.ID(), q.FD()); err != nil {
			return err
		}
	}
	s.refillAt = min(refillBatch, int(c.Fill)/4)
	return s.tune(o)
}

// powerOfTwo is the least power of two that is n or more.
func powerOfTwo(n int) int { return 1 << bits.Len(uint(n-1)) }

// chooseQueues returns those that were asked for, or all; of a broker the first.
func (s *station) chooseQueues(name string, o *Options) ([]uint32, error) {
	switch {
	case len(o.XDP.Queues) > 0:
		return o.XDP.Queues, nil
	case o.XDP.Broker != "":
		return []uint32{0}, nil
	}
	n, err := receiveQueues(name)
	if err != nil {
		return nil, err
	}
	if n > ebpf.MaxQueues {
		s.why = append(s.why, fmt.Sprintf("Of %d queues the first %d are served; what comes on others takes the kernel's way.", n, ebpf.MaxQueues))
	}
	var all []uint32
	for q := range min(n, ebpf.MaxQueues) {
		all = append(all, q)
	}
	return all, nil
}

// tune sets up busy polling, and notes what was not had.
func (s *station) tune(o *Options) error {
	zero, why := s.sockets.ZeroCopy()
	s.zeroCopy = zero
	switch {
	case why != nil:
		s.why = append(s.why, fmt.Sprintf("The kernel copies each packet once: %v.", why))
	case !zero && s.generic:
		s.why = append(s.why, "The kernel copies each packet once: in generic mode there is no zero-copy.")
	case !zero:
		s.why = append(s.why, "The kernel copies each packet once: that was asked for.")
	}
	s.why = append(s.why, s.sockets.Notes()...)
	if o.BusyPoll == 0 {
		return nil
	}
	for _, q := range s.queues {
		if err := q.BusyPoll(o.BusyPoll, o.XDP.BusyPollBudget); err != nil {
			return err
		}
	}
	s.busyPoll = true
	return nil
}
