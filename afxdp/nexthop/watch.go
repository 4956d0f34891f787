package nexthop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Watcher follows the way to one address until it is closed.
type Watcher struct {
	local, remote netip.Addr
	handle        *netlink.Handle
	events        *os.File
	path          atomic.Pointer[Path]
	// Of the goroutine's:
	state int // of the neighbour
	asked time.Time

	wanted atomic.Int32 // what Ask wants
	done   chan struct{}
}

const (
	askUse   = 1
	askAgain = 2

	// askPace is the least time between two questions about one neighbour.
	askPace = 500 * time.Millisecond
	// lookPace is how often the kernel is asked while the way is not known,
	// whatever it reports by itself.
	lookPace = time.Second

	groups = unix.RTMGRP_LINK | unix.RTMGRP_NEIGH | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE |
		unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR
)

// Watch looks for the way from local, which may be the unspecified address, to
// remote, in the calling thread's network namespace, and keeps looking. The MAC
// address may not be known yet: see [Path.Ready].
//
// Errors: there is no route, or it is no Ethernet (ErrNoEthernet).
func Watch(local, remote netip.Addr) (*Watcher, error) {
	w := &Watcher{local: local, remote: remote, done: make(chan struct{})}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("nexthop: a netlink socket: %w", err)
	}
	// Non-blocking, so that the runtime waits for it without a thread.
	w.events = os.NewFile(uintptr(fd), "netlink")
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, errors.Join(fmt.Errorf("nexthop: listening to the kernel: %w", err), w.events.Close())
	}
	if w.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, errors.Join(fmt.Errorf("nexthop: a netlink socket: %w", err), w.events.Close())
	}
	if err := w.look(); err != nil {
		w.handle.Close()
		return nil, errors.Join(err, w.events.Close())
	}
	go w.follow()
	return w, nil
}

// Path is the way as it is now. It is not changed afterwards: another one has
// another address.
func (w *Watcher) Path() *Path { return w.path.Load() }

// Ask has the kernel find out whether the neighbour is still there. With again
// it forgets what it knows and asks everybody, for a neighbour that may have
// another MAC address now. It returns at once.
func (w *Watcher) Ask(again bool) {
	want := int32(askUse)
	if again {
		want = askAgain
	}
	w.wanted.Store(want)
	_ = w.events.SetReadDeadline(time.Now()) // fails only once it is closed
}

// Close ends watching. Path stays as it was.
func (w *Watcher) Close() error {
	err := w.events.Close()
	<-w.done
	w.handle.Close()
	return err
}

func (w *Watcher) follow() {
	defer close(w.done)
	buffer := make([]byte, 64<<10)
	for {
		deadline := time.Time{}
		if !w.Path().Ready() {
			deadline = time.Now().Add(lookPace)
		}
		_ = w.events.SetReadDeadline(deadline)
		if w.wanted.Load() != 0 { // it may have come before the deadline was set
			_ = w.events.SetReadDeadline(time.Now())
		}
		n, err := w.events.Read(buffer)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err == nil && !w.concerns(buffer[:n]):
			continue
		case errors.Is(err, os.ErrDeadlineExceeded):
			w.ask(w.wanted.Swap(0) == askAgain)
		}
		// An error such as ENOBUFS means that messages were lost.
		if err := w.look(); err != nil {
			broken := *w.Path()
			broken.Up = false
			w.set(broken)
		}
	}
}

// concerns says whether any message is about this way.
func (w *Watcher) concerns(b []byte) bool {
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return true
	}
	for _, m := range messages {
		switch m.Header.Type {
		case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
			if w.isNextHop(&m) {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// isNextHop says whether a message about a neighbour (struct ndmsg) is about
// the next hop.
func (w *Watcher) isNextHop(m *syscall.NetlinkMessage) bool {
	const header = 12
	for b := m.Data[min(header, len(m.Data)):]; len(b) >= 4; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < 4 || size > len(b) {
			return true
		}
		if binary.NativeEndian.Uint16(b[2:]) == unix.NDA_DST {
			a, ok := netip.AddrFromSlice(b[4:size])
			return ok && a == w.Path().NextHop
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return true
}

// look finds the way, and has the kernel find what is missing.
func (w *Watcher) look() error {
	p, state, err := resolve(w.handle, w.local, w.remote)
	if err != nil {
		return err
	}
	w.state = state
	w.set(p)
	if p.RemoteMAC == [6]byte{} && state != netlink.NUD_INCOMPLETE || state == netlink.NUD_STALE {
		w.ask(false)
	}
	return nil
}

func (w *Watcher) set(p Path) {
	if old := w.path.Load(); old == nil || *old != p {
		w.path.Store(&p)
	}
}

// ask has the kernel send a question, as a packet to the neighbour would. The
// kernel's own packets would do the same; ours pass it by.
func (w *Watcher) ask(again bool) {
	p := w.Path()
	if !p.Up || w.state&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0 || time.Since(w.asked) < askPace {
		return
	}
	w.asked = time.Now()
	n := &netlink.Neigh{LinkIndex: w.device(), Family: netlink.FAMILY_V4, IP: p.NextHop.AsSlice(), Flags: netlink.NTF_USE}
	if p.NextHop.Is6() {
		n.Family = netlink.FAMILY_V6
	}
	if again && w.state != 0 {
		_ = w.handle.NeighDel(n) // it may be gone already
	}
	// Without CAP_NET_ADMIN this fails, and packets by the kernel's own way,
	// which are sent while this one is not known, ask instead.
	_ = w.handle.NeighSet(n)
}

// device is the index of the interface that has the neighbour.
func (w *Watcher) device() int {
	routes, err := w.handle.RouteGetWithOptions(w.remote.WithZone("").AsSlice(), &netlink.RouteGetOptions{Oif: w.remote.Zone()})
	if err != nil || len(routes) == 0 {
		return w.Path().Interface
	}
	return routes[0].LinkIndex
}
