package can

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

// InterfaceOptions tune [OpenInterface]. Zero fields get the default.
type InterfaceOptions struct {
	// Everything takes all frames of the bus, for watching it. Without it the
	// kernel passes on what is for Node or everyone, and what another sends as
	// Node.
	Everything bool
	// Node is the number for which frames are taken.
	Node NodeID
	// ReceiveBuffer is the bytes of the socket's buffer; default 12 MiB, which
	// holds 20,000 frames. Nothing of it is taken before frames wait. The
	// kernel's own default holds some 250. Beyond net.core.rmem_max it takes
	// CAP_NET_ADMIN.
	ReceiveBuffer int
	// Rates overrides the bit rates, which are otherwise asked of the kernel.
	Rates Rates
}

const (
	defaultReceiveBuffer = 12 << 20
	// The kernel accounts some 800 (6.1) to 960 (6.12) bytes a frame, whatever
	// its length.
	frameAccounted = 960
	// Where the queue of the interface is full, poll(2) tells nothing: frames
	// leave it in some 100 µs each.
	pace = 200 * time.Microsecond
)

// Socket is a CAN interface of the kernel, as a [Bus]: a raw socket
// (Documentation/networking/can.rst).
type Socket struct {
	fd, wake int
	index    int
	info     BusInfo
	batch    *batch
	full     atomic.Bool // Send found no room
	closed   atomic.Bool
	sendBuf  [canFDMTU]byte
	lost     uint32 // the kernel's counter of dropped frames
}

var _ Bus = (*Socket)(nil)

// OpenInterface opens a CAN interface, which must be up, by name. It needs no
// privilege. Info().Why says what could not be had: FD frames, a large buffer,
// hardware timestamps, bit rates.
func OpenInterface(name string, o *InterfaceOptions) (*Socket, error) {
	var opts InterfaceOptions
	if o != nil {
		opts = *o
	}
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("can: interface %s: %w; ip -details link show type can lists those there are", name, err)
	}
	fd, err := unix.Socket(unix.AF_CAN, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.CAN_RAW)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, fmt.Errorf("can: this kernel has no CAN sockets: %w; modprobe can-raw, or take a kernel with CONFIG_CAN_RAW", err)
	} else if err != nil {
		return nil, fmt.Errorf("can: socket: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("can: eventfd: %w; raise RLIMIT_NOFILE if descriptors ran out", err)
	}
	s := &Socket{fd: fd, wake: wake, index: iface.Index, batch: newBatch(), info: BusInfo{Name: name}}
	if err := s.configure(&opts); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// configure sets all options before it binds, so that no frame comes before
// its filter.
func (s *Socket) configure(o *InterfaceOptions) error {
	if !o.Everything {
		if err := unix.SetsockoptCanRawFilter(s.fd, unix.SOL_CAN_RAW, unix.CAN_RAW_FILTER, filters(o.Node)); err != nil {
			return fmt.Errorf("can: filter: %w", err)
		}
	}
	// Every class of error frames.
	if err := unix.SetsockoptInt(s.fd, unix.SOL_CAN_RAW, unix.CAN_RAW_ERR_FILTER, unix.CAN_ERR_MASK); err != nil {
		return fmt.Errorf("can: error filter: %w", err)
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1); err != nil {
		return fmt.Errorf("can: SO_RXQ_OVFL: %w", err)
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_CAN_RAW, unix.CAN_RAW_FD_FRAMES, 1); err != nil {
		s.lacks("FD frames: %v", err)
	} else {
		s.info.FD = true // if the interface carries them
	}
	const stamps = unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_RAW_HARDWARE |
		unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, stamps); err != nil {
		s.lacks("timestamps: %v", err)
	}
	s.buffer(o.ReceiveBuffer)
	if err := unix.Bind(s.fd, &unix.SockaddrCAN{Ifindex: s.index}); err != nil {
		return fmt.Errorf("can: bind to %s: %w; is it a CAN interface, and up? (ip link set %s up)", s.info.Name, err, s.info.Name)
	}
	return s.describe(o)
}

func (s *Socket) lacks(format string, args ...any) {
	s.info.Why = append(s.info.Why, fmt.Sprintf(format, args...))
}

// buffer asks for a receive buffer that outlasts a burst.
func (s *Socket) buffer(size int) {
	if size == 0 {
		size = defaultReceiveBuffer
	}
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) == nil {
		return
	}
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
	// The kernel reports twice what it was asked for.
	if got, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil && got < 2*size {
		s.lacks("a receive buffer for bursts of more than about %d frames: raise net.core.rmem_max to %d, or give CAP_NET_ADMIN",
			got/frameAccounted, size)
	}
}

// describe finds out what the interface is.
func (s *Socket) describe(o *InterfaceOptions) error {
	mtu, err := os.ReadFile("/sys/class/net/" + s.info.Name + "/mtu")
	var n int
	if err == nil {
		_, err = fmt.Sscan(string(mtu), &n)
	}
	if err != nil {
		return fmt.Errorf("can: mtu of %s: %w", s.info.Name, err)
	}
	s.info.FD = s.info.FD && n >= canFDMTU
	s.info.Rates = o.Rates
	if o.Rates.Nominal == 0 {
		if s.info.Rates, err = interfaceRates(s.index); err != nil {
			s.lacks("bit rates, and so no bus load: %v", err)
		}
	}
	return nil
}

// filters are for frames to a node, to everyone, and from the node, which only
// another one with the same number can send: a socket does not receive its own.
func filters(node NodeID) []unix.CanFilter {
	// No remote frames and none with 11 bits.
	const kind = unix.CAN_EFF_FLAG | unix.CAN_RTR_FLAG
	to := func(n NodeID) unix.CanFilter {
		return unix.CanFilter{Id: uint32(n)<<toShift | unix.CAN_EFF_FLAG, Mask: nodeMask<<toShift | kind}
	}
	return []unix.CanFilter{to(node), to(Everyone),
		{Id: uint32(node)<<fromShift | unix.CAN_EFF_FLAG, Mask: nodeMask<<fromShift | kind}}
}

// Send implements Bus.
func (s *Socket) Send(f *Frame) error {
	if f.Flags&FlagError != 0 || f.ID > idMask || !f.valid(s.info.FD) {
		return fmt.Errorf("%w: %v on %s", ErrFrame, f, s.info.Name)
	}
	n := putFrame(&s.sendBuf, f)
	for {
		_, err := unix.Write(s.fd, s.sendBuf[:n])
		switch err {
		case nil:
			return nil
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOBUFS:
			s.full.Store(true)
			return link.ErrFull
		default:
			if s.closed.Load() {
				return link.ErrClosed
			}
			return fmt.Errorf("can: write to %s: %w", s.info.Name, err)
		}
	}
}

// Receive implements Bus.
func (s *Socket) Receive(fs []Frame) (int, error) {
	if s.closed.Load() {
		return 0, link.ErrClosed
	}
	n, err := s.batch.receive(s.fd, min(len(fs), batchSize))
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("can: receiving from %s: %w", s.info.Name, err)
	}
	k := 0
	for i := range n {
		data, control := s.batch.message(i)
		f := &fs[k]
		if !getFrame(f, data) {
			continue
		}
		s.note(f, control)
		k++
	}
	return k, nil
}

// Wait implements Bus.
func (s *Socket) Wait(d time.Duration) {
	if s.full.Swap(false) {
		d = min(d, pace)
	}
	fds := [2]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}, {Fd: int32(s.wake), Events: unix.POLLIN}}
	t := unix.NsecToTimespec(int64(d))
	if n, err := unix.Ppoll(fds[:], &t, nil); n > 0 && err == nil && fds[1].Revents != 0 {
		quietFD(s.wake)
	}
}

// Wake implements Bus.
func (s *Socket) Wake() { ringFD(s.wake) }

// Info implements Bus.
func (s *Socket) Info() BusInfo { return s.info }

// Close implements Bus. The descriptors go when nobody waits on them: a Node
// closes its bus when its goroutine has ended.
func (s *Socket) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	if err := errors.Join(unix.Close(s.fd), unix.Close(s.wake)); err != nil {
		return fmt.Errorf("can: closing %s: %w", s.info.Name, err)
	}
	return nil
}

// The sizes of the two formats, by which the kernel tells them apart.
const (
	canMTU   = 16
	canFDMTU = 72
)

// The layout of struct can_frame and struct canfd_frame, which differ in the
// flags and in the room for data: identifier u32, length u8, flags u8, two
// reserved, data. Both are in host order.
const (
	rawFlags = 5
	rawData  = 8
)

// putFrame writes f as the kernel takes it and returns its length.
func putFrame(b *[canFDMTU]byte, f *Frame) int {
	id := uint32(f.ID) | unix.CAN_EFF_FLAG
	if f.Flags&FlagStandard != 0 {
		id = uint32(f.ID) & unix.CAN_SFF_MASK
	}
	if f.Flags&FlagRemote != 0 {
		id |= unix.CAN_RTR_FLAG
	}
	binary.NativeEndian.PutUint32(b[:], id)
	b[4], b[rawFlags], b[6], b[7] = f.Len, 0, 0, 0
	copy(b[rawData:], f.Bytes())
	if f.Flags&FlagFD == 0 {
		clear(b[rawData+f.Len : canMTU])
		return canMTU
	}
	if f.Flags&FlagBRS != 0 {
		b[rawFlags] = canBRS
	}
	clear(b[rawData+f.Len:])
	return canFDMTU
}

// The flags of struct canfd_frame (include/uapi/linux/can.h).
const (
	canBRS = 0x01
	canESI = 0x02
)

// getFrame reads what the kernel wrote; ok is false if that is no CAN frame.
func getFrame(f *Frame, b []byte) (ok bool) {
	if len(b) != canMTU && len(b) != canFDMTU || int(b[4]) > len(b)-rawData {
		return false
	}
	id := binary.NativeEndian.Uint32(b)
	f.Time, f.Lost, f.Flags, f.Len = 0, 0, 0, b[4]
	f.ID = ID(id & unix.CAN_EFF_MASK)
	if id&unix.CAN_EFF_FLAG == 0 && id&unix.CAN_ERR_FLAG == 0 {
		f.Flags |= FlagStandard
	}
	if id&unix.CAN_RTR_FLAG != 0 {
		f.Flags |= FlagRemote
	}
	if id&unix.CAN_ERR_FLAG != 0 {
		f.Flags |= FlagError
	}
	if len(b) == canFDMTU {
		f.Flags |= FlagFD
		if b[rawFlags]&canBRS != 0 {
			f.Flags |= FlagBRS
		}
		if b[rawFlags]&canESI != 0 {
			f.Flags |= FlagESI
		}
	}
	copy(f.Data[:], b[rawData:rawData+int(b[4])])
	return true
}
