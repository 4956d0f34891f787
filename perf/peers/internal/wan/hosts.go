package wan

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The addresses of the two hosts, and one to which the first can change.
const (
	AddrA     = "10.88.0.1"
	AddrB     = "10.88.0.2"
	AddrMoved = "10.88.0.9"
)

const device = "wan0"

// Hosts are two hosts and the way between them.
type Hosts struct {
	spaces [2]netns.NsHandle
	tuns   [2]int
	lanes  [2]*lane
}

// New makes them. Close them.
func New(p Path) (h *Hosts, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("wan: it takes root to make network namespaces and TUN devices")
	}
	if p.Mbit <= 0 || p.Queue <= 0 || p.Loss < 0 || p.Loss >= 1 || p.Reorder < 0 || p.Reorder >= 1 || p.Delay < 0 {
		return nil, fmt.Errorf("wan: %+v is no path: Mbit and Queue must be above 0, shares from 0 to below 1", p)
	}
	h = &Hosts{spaces: [2]netns.NsHandle{-1, -1}, tuns: [2]int{-1, -1}}
	for i, addr := range []string{AddrA + "/24", AddrB + "/24"} {
		if err := h.open(i, addr); err != nil {
			h.Close()
			return nil, fmt.Errorf("wan: host %d: %w", i, err)
		}
	}
	for i := range h.lanes {
		l := newLane(p, h.tuns[i], h.tuns[1-i])
		h.lanes[i] = l
		l.ended.Go(l.take)
		l.ended.Go(func() {
			runtime.LockOSThread() // never unlocked: it has a timer slack of its own
			l.give()
		})
	}
	return h, nil
}

// open makes host i: a namespace with a device in it.
func (h *Hosts) open(i int, addr string) error {
	if err := h.makeSpace(i); err != nil {
		return err
	}
	return h.within(i, func() error {
		tun, err := openTUN()
		if err != nil {
			return err
		}
		h.tuns[i] = tun
		return change(addr, netlink.AddrAdd)
	})
}

func (h *Hosts) makeSpace(i int) error {
	home, err := netns.Get()
	if err != nil {
		return err
	}
	defer home.Close()
	runtime.LockOSThread()
	if h.spaces[i], err = netns.New(); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	if err := netns.Set(home); err != nil {
		return err // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return nil
}

func openTUN() (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("/dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(device)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err == nil {
		err = up()
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func up() error {
	l, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	return errors.Join(netlink.LinkSetMTU(l, 1500), netlink.LinkSetTxQLen(l, 10_000), netlink.LinkSetUp(l))
}

// change adds or removes an address of the device.
func change(cidr string, how func(netlink.Link, *netlink.Addr) error) error {
	l, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	return how(l, a)
}

// within runs f on a thread of host i.
func (h *Hosts) within(i int, f func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := netns.Set(h.spaces[i]); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	if back := netns.Set(home); back != nil {
		return errors.Join(err, back) // locked still: nobody else gets this thread
	}
	runtime.UnlockOSThread()
	return err
}

// Start starts a process on host i.
func (h *Hosts) Start(i int, c *exec.Cmd) error { return h.within(i, c.Start) }

// Move gives the first host another address and takes its own away.
func (h *Hosts) Move() error {
	return h.within(0, func() error {
		// Of a narrower network, so that it stays when the first one goes.
		return errors.Join(change(AddrMoved+"/25", netlink.AddrAdd), change(AddrA+"/24", netlink.AddrDel))
	})
}

// Also gives the first host the other address, beside its own.
func (h *Hosts) Also() error {
	return h.within(0, func() error { return change(AddrMoved+"/24", netlink.AddrAdd) })
}

// Counts returns what happened to packets so far.
func (h *Hosts) Counts() (c Counts) {
	for _, l := range h.lanes {
		if l == nil {
			continue
		}
		c.Carried += l.carried.Load()
		c.Lost += l.lost.Load()
		c.Early += l.early.Load()
		c.Overflowed += l.overflowed.Load()
	}
	return c
}

// Close takes the way away. The namespaces go with the last process in them.
func (h *Hosts) Close() {
	gone := true
	for i := range h.tuns {
		if h.spaces[i] >= 0 && h.tuns[i] >= 0 {
			// Reading ends with an error when the device is gone.
			gone = h.within(i, func() error {
				l, err := netlink.LinkByName(device)
				if err != nil {
					return err
				}
				return netlink.LinkDel(l)
			}) == nil && gone
		}
	}
	// Each descriptor is read by one lane and written by the other. A number that
	// is closed too early may be another file's when they use it once more; where
	// a device is left, they are left too.
	if gone {
		for _, l := range h.lanes {
			if l != nil {
				l.ended.Wait()
			}
		}
	}
	for i := range h.tuns {
		if gone && h.tuns[i] >= 0 {
			_ = unix.Close(h.tuns[i])
		}
		if h.spaces[i] >= 0 {
			_ = h.spaces[i].Close()
		}
	}
}
