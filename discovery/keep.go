package discovery

import (
	"context"
	"crypto/sha256"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// rescanEvery is how often interfaces are looked at, besides when the
	// kernel says that they change.
	rescanEvery = 10 * time.Second
	// reseedEvery is how often seeds are looked up.
	reseedEvery = time.Minute
)

// hostID is the same for all nodes of a host since its boot, and says nothing
// else of it.
func hostID() [8]byte {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return [8]byte{}
	}
	sum := sha256.Sum256(append([]byte("cell pheromone host v1\x00"), boot...))
	return [8]byte(sum[:])
}

// keep follows the host's interfaces, looks up seeds and rechecks trust now and
// then.
func (a *Agent) keep() {
	changes := make(chan struct{}, 1)
	if fd, err := addressChanges(); err == nil {
		defer unix.Close(fd)
		a.wg.Go(func() { a.hearChanges(fd, changes) })
	}
	if a.resolveSeeds() {
		a.announce()
	}
	rescan, reseed := time.NewTicker(rescanEvery), time.NewTicker(reseedEvery)
	defer rescan.Stop()
	defer reseed.Stop()
	for {
		select {
		case <-changes:
			a.rescan()
		case <-rescan.C:
			a.rescan()
		case <-reseed.C:
			a.resolveSeeds()
			a.Recheck()
		case <-a.ended:
			return
		}
	}
}

// hearChanges tells when the kernel says that interfaces or addresses change.
func (a *Agent) hearChanges(fd int, changes chan<- struct{}) {
	buffer := make([]byte, 8192)
	for {
		select {
		case <-a.ended:
			return
		default:
		}
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, 100); n == 0 || err != nil {
			continue
		}
		_, _ = unix.Read(fd, buffer) // what changed is looked up, not read
		select {
		case changes <- struct{}{}:
		default:
		}
	}
}

func (a *Agent) rescan() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	if err := a.rescanLocked(); err != nil {
		a.o.Logger.Warn("interfaces can't be listed", "error", err)
	}
}

// rescanLocked opens sockets on interfaces that have come and closes those on
// interfaces that have gone. Where anything changed, all are told anew.
func (a *Agent) rescanLocked() error {
	found, err := nics(a.o.Interface)
	if err != nil {
		return err
	}
	same := slices.EqualFunc(a.nics, found, nic.equal)
	wanted := make(map[string]bool)
	for i := range found {
		n := &found[i]
		if a.o.NoMulticast && !a.o.Broadcast && n.multicast && len(a.o.Seeds) == 0 {
			continue
		}
		if n.four && a.send4 != nil {
			a.openGroup("udp4", n, wanted)
		}
		if n.six && a.send6 != nil {
			a.openGroup("udp6", n, wanted)
		}
	}
	for key, s := range a.groups {
		if !wanted[key] {
			_ = s.conn.Close()
			delete(a.groups, key)
		}
	}
	if same {
		return nil
	}
	a.nics = found
	if !a.machine.started() {
		return nil
	}
	a.machine.Announce(a.instant())
	return a.setLocked()
}

// openGroup opens the socket that hears the group on one interface, if it isn't
// open. A failure is tried again with the next look: an interface may not be
// ready yet.
func (a *Agent) openGroup(network string, n *nic, wanted map[string]bool) {
	key := network + " " + strconv.Itoa(n.index) + " " + n.name
	if wanted[key] = true; a.groups[key] != nil {
		return
	}
	s, err := listen(network, a.o.Port, n.name, n.index, a.o.Cluster.ID)
	if err != nil {
		a.o.Logger.Warn("no socket for the group", "network", network, "interface", n.name, "error", err)
		return
	}
	a.groups[key] = s
	a.wg.Go(func() { a.receive(s) })
}

// announce tells everybody anew.
func (a *Agent) announce() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.machine.Announce(a.instant())
		a.poke()
	}
}

// literalSeeds takes the seeds that need no looking up.
func (a *Agent) literalSeeds() {
	var found []netip.AddrPort
	for _, s := range a.o.Seeds {
		if addr, err := netip.ParseAddrPort(s); err == nil {
			found = append(found, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()))
		}
	}
	a.seeds.Store(&found)
}

// resolveSeeds looks up where the seeds are, which may take as long as DNS does,
// and reports whether there are others than before.
func (a *Agent) resolveSeeds() bool {
	if len(a.o.Seeds) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var found []netip.AddrPort
	for _, s := range a.o.Seeds {
		host, service, _ := net.SplitHostPort(s)
		port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
		if err != nil {
			a.o.Logger.Warn("a seed's port is unknown", "seed", s, "error", err)
			continue
		}
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			a.o.Logger.Warn("a seed is unknown", "seed", s, "error", err)
			continue
		}
		for _, ip := range ips[:min(len(ips), 4)] {
			found = append(found, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
		}
	}
	before := *a.seeds.Load()
	a.seeds.Store(&found)
	return !slices.Equal(before, found)
}
