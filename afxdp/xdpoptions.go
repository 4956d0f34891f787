package afxdp

import (
	"fmt"

	"github.com/cell-runtime/cell/ebpf"
)

// XDPOptions are those of [Dial] alone. Zero fields get the default.
type XDPOptions struct {
	// Required makes Dial fail where AF_XDP can't be had, rather than fall back
	// to an ordinary socket.
	Required bool
	// Backend is whose AF_XDP sockets are taken: "" for package xsk's own, or the
	// name of one that was registered ("asavie", with package afxdp/asavie). The
	// first connection of the process over an interface decides.
	Backend string
	// Broker is the unix socket of a broker (package afxdp/broker; cellnode
	// broker), which hands over sockets and has attached the program: the process
	// then needs no capability, but for memory that may be locked. The local port
	// must be the broker's. Queues are 0 alone, if they aren't named.
	Broker string
	// Mode says where the XDP program runs. ebpf.ModeAuto takes the driver, but
	// generic mode on veth, which has the shorter round trips there, and where
	// the driver has no XDP. Info().Why says what was taken.
	Mode ebpf.Mode
	// Measure has ModeAuto find out by itself which mode has the shorter round trips
	// over veth on this kernel, between two network namespaces that it makes for
	// that (CAP_SYS_ADMIN), once in a process. It takes some 100 ms.
	Measure bool
	// Copy is whether the device reads and writes our frames itself.
	Copy Copying
	// Queues are those of the interface on which datagrams may arrive: default
	// all, 64 at most. What comes on another one takes the kernel's way.
	Queues []uint32
	// FrameSize is how many bytes a frame of memory has, 2,048 or 4,096. Default:
	// the least that the MTU fits in, or 4,096. Datagrams fit one, unless
	// Options.Datagram asks for longer ones (Linux 6.6), which take several.
	FrameSize int
	// Peers is how many connections of the process the interface's memory is
	// for, if this is the first; default 8. None of the others may have a larger
	// Options.Window than the first. There are some 3*Window frames for each, a
	// million at most.
	Peers int
	// HugePages asks for memory in pages of 2 MiB.
	HugePages bool
	// NoChecksum leaves out UDP's checksum over IPv4. The link's own check, the
	// Ethernet frame's, ends at each switch.
	NoChecksum bool
	// OffloadChecksum has the device make UDP's checksum (Linux 6.8), where it can:
	// with zero-copy where the driver says so, otherwise wherever it can for the
	// kernel's own sockets; not where datagrams take several frames. Info().Why
	// says whether it does. Virtual interfaces leave the checksum out until a packet leaves the host, which programs in
	// between must not take for damage.
	OffloadChecksum bool
	// Timed has the program note when each datagram arrives, for [Conn.Arrived].
	// Info().Why says where that can't be had.
	Timed bool
	// BusyPollBudget is how many packets one busy poll may take; default 64.
	// With Options.BusyPoll.
	BusyPollBudget int
}

// Copying says who moves packets between frames and device.
type Copying int

// The ways of copying.
const (
	// CopyAuto takes zero-copy where the driver has it.
	CopyAuto Copying = iota
	// CopyAlways has the kernel copy each packet once.
	CopyAlways
	// CopyNever insists on zero-copy.
	CopyNever
)

// settle fills in defaults.
func (x *XDPOptions) settle() error {
	if x.Peers == 0 {
		x.Peers = 8
	}
	switch {
	case x.Mode < ebpf.ModeAuto || x.Mode > ebpf.ModeGeneric:
		return fmt.Errorf("afxdp: Options.XDP.Mode is %v; auto, driver or generic", x.Mode)
	case x.Copy < CopyAuto || x.Copy > CopyNever:
		return fmt.Errorf("afxdp: Options.XDP.Copy is %d; CopyAuto, CopyAlways or CopyNever", x.Copy)
	case x.FrameSize != 0 && x.FrameSize != 2048 && x.FrameSize != 4096:
		return fmt.Errorf("afxdp: Options.XDP.FrameSize is %d; 2048 or 4096", x.FrameSize)
	case len(x.Queues) > ebpf.MaxQueues:
		return fmt.Errorf("afxdp: Options.XDP.Queues names %d; at most %d", len(x.Queues), ebpf.MaxQueues)
	case x.Peers < 1 || x.Peers > 256:
		return fmt.Errorf("afxdp: Options.XDP.Peers is %d; 1 to 256, or 0 for 8", x.Peers)
	case x.BusyPollBudget < 0 || x.BusyPollBudget > 65535:
		return fmt.Errorf("afxdp: Options.XDP.BusyPollBudget is %d; 0 to 65535", x.BusyPollBudget)
	}
	return nil
}
