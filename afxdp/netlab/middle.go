package netlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Bad says how a network treats IP packets, each by chance and on its own. It
// stands in for netem, which many kernels don't have.
type Bad struct {
	Lose, Repeat, Reorder float64 // probabilities
	// Delay is how long a packet waits that is overtaken, unless enough others
	// have come before; default 2 ms.
	Delay time.Duration
	Seed  uint64 // of chance; 0: another one each time
}

// Middle is the network between two hosts, with interfaces to both: a program
// that reads each frame on one side and writes it on the other, or does not.
type Middle struct {
	host  *Host
	bad   Bad
	socks [2]int
	stop  int // eventfd
	ended chan error
	rng   *rand.Rand
	held  [2]heldFrame

	forwarded, lost, repeated, reordered atomic.Uint64
}

// heldFrame waits to be overtaken.
type heldFrame struct {
	frame []byte
	after int // this many others
	until time.Time
}

// MiddleCounts are what has become of IP packets.
type MiddleCounts struct{ Forwarded, Lost, Repeated, Reordered uint64 }

// Counts returns them so far.
func (m *Middle) Counts() MiddleCounts {
	return MiddleCounts{m.forwarded.Load(), m.lost.Load(), m.repeated.Load(), m.reordered.Load()}
}

const (
	left, right = "left", "right"
	longest     = 1 << 16
	overtakers  = 3
)

// newMiddle wires both hosts to a third namespace.
func newMiddle(l *Lab, o Options) (m *Middle, err error) {
	m = &Middle{bad: *o.Bad, socks: [2]int{-1, -1}, stop: -1, ended: make(chan error, 1)}
	if m.bad.Delay == 0 {
		m.bad.Delay = 2 * time.Millisecond
	}
	if m.bad.Seed == 0 {
		m.bad.Seed = rand.Uint64()
	}
	m.rng = rand.New(rand.NewPCG(m.bad.Seed, 0))
	if m.host, err = newHost(left, 3); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.closeAll())
		}
	}()
	if err := m.host.Do(func() error { return noIPv6() }); err != nil {
		return nil, err
	}
	for i, h := range []*Host{l.A, l.B} {
		name := []string{left, right}[i]
		if err := pair(h, h.Interface, m.host, name, o); err != nil {
			return nil, err
		}
		if err := m.join(i, name); err != nil {
			return nil, fmt.Errorf("netlab: the network between hosts: %w", err)
		}
	}
	if m.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, err
	}
	go func() { m.ended <- m.run() }()
	return m, nil
}

// noIPv6 keeps the middle from speaking itself.
func noIPv6() error {
	err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// join opens a socket for whole frames on one side.
func (m *Middle) join(i int, name string) error {
	link, err := m.host.Net.LinkByName(name)
	if err != nil {
		return err
	}
	if err := m.host.Net.LinkSetUp(link); err != nil {
		return err
	}
	return m.host.Do(func() (err error) {
		all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
		if m.socks[i], err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		_ = unix.SetsockoptInt(m.socks[i], unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20) // less loses more
		if err := unix.SetsockoptInt(m.socks[i], unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return fmt.Errorf("PACKET_IGNORE_OUTGOING (Linux 4.20): %w", err)
		}
		return unix.Bind(m.socks[i], &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Attrs().Index})
	})
}

// run forwards until it is stopped.
func (m *Middle) run() error {
	fds := []unix.PollFd{{Fd: int32(m.socks[0]), Events: unix.POLLIN}, {Fd: int32(m.socks[1]), Events: unix.POLLIN}, {Fd: int32(m.stop), Events: unix.POLLIN}}
	b := make([]byte, longest)
	for {
		timeout := -1
		if m.held[0].frame != nil || m.held[1].frame != nil {
			timeout = 1
		}
		if _, err := unix.Poll(fds, timeout); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if fds[2].Revents != 0 {
			return nil
		}
		for side := range m.socks {
			if err := m.drain(side, b); err != nil {
				return err
			}
		}
	}
}

// drain takes what has come on one side to the other.
func (m *Middle) drain(side int, b []byte) error {
	for range 64 {
		n, err := unix.Read(m.socks[side], b)
		switch {
		case errors.Is(err, unix.EAGAIN):
			m.letGo(side, false)
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
			continue
		case err != nil:
			return fmt.Errorf("netlab: reading a frame: %w", err)
		}
		m.pass(side, b[:n])
	}
	return nil
}

// pass decides what becomes of a frame.
func (m *Middle) pass(side int, frame []byte) {
	if !spares(frame) {
		if m.rng.Float64() < m.bad.Lose {
			m.lost.Add(1)
			return
		}
		h := &m.held[side]
		if h.frame == nil && m.rng.Float64() < m.bad.Reorder {
			*h = heldFrame{append([]byte(nil), frame...), 1 + m.rng.IntN(overtakers), time.Now().Add(m.bad.Delay)}
			m.reordered.Add(1)
			return
		}
		m.forwarded.Add(1)
		if m.rng.Float64() < m.bad.Repeat {
			m.repeated.Add(1)
			m.write(side, frame)
		}
	}
	m.write(side, frame)
	m.letGo(side, true)
}

// spares says whether a frame is none of IP's own traffic: finding each other's
// MAC addresses, which the hosts' kernels do, is not what is tested.
func spares(frame []byte) bool {
	if len(frame) < 14 {
		return true
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_IP:
		return false
	case unix.ETH_P_IPV6:
		const icmp = 58
		return len(frame) > 20 && frame[20] == icmp
	case unix.ETH_P_8021Q:
		return false
	}
	return true
}

// letGo lets go of the frame that waits once it was overtaken or its time is up.
func (m *Middle) letGo(side int, overtaken bool) {
	h := &m.held[side]
	if h.frame == nil {
		return
	}
	if overtaken {
		h.after--
	}
	if h.after <= 0 || time.Now().After(h.until) {
		frame := h.frame
		*h = heldFrame{}
		m.forwarded.Add(1)
		m.write(side, frame)
	}
}

// write ignores what becomes of a frame: a full queue loses it, as queues do.
func (m *Middle) write(side int, frame []byte) { _, _ = unix.Write(m.socks[1-side], frame) }

func (m *Middle) close() error {
	one := [8]byte{1}
	_, err := unix.Write(m.stop, one[:])
	return errors.Join(err, <-m.ended, m.closeAll())
}

func (m *Middle) closeAll() error {
	var errs []error
	for _, fd := range []int{m.socks[0], m.socks[1], m.stop} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(append(errs, m.host.close())...)
}

// wholeChecksums has a host's kernel finish checksums and cut up messages before
// its interface, as it must where somebody else than a kernel reads frames.
func (h *Host) wholeChecksums() error {
	return h.Do(func() error { return setTxChecksum(h.Interface, false) })
}

// pair makes veth interfaces between two namespaces.
func pair(a *Host, nameA string, b *Host, nameB string, o Options) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name, attributes.MTU, attributes.NumTxQueues, attributes.NumRxQueues = nameA, o.MTU, o.Queues, o.Queues
	veth := &netlink.Veth{LinkAttrs: attributes, PeerName: nameB, PeerNamespace: netlink.NsFd(b.ns),
		PeerMTU: uint32(o.MTU), PeerNumTxQueues: uint32(o.Queues), PeerNumRxQueues: uint32(o.Queues)}
	if err := a.Net.LinkAdd(veth); err != nil {
		return fmt.Errorf("netlab: a pair of veth interfaces: %w", err)
	}
	return nil
}
