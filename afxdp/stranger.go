package afxdp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// listenKey is an address in a network namespace.
type listenKey struct {
	namespace uint64
	local     netip.AddrPort
}

// listeners are those of this process over AF_XDP: once a program takes their
// port past the kernel, strangers are found among the packets of its station.
var listeners struct {
	sync.Mutex
	all map[listenKey]*Listener
}

func (l *Listener) register() error {
	if !l.xdp {
		return nil
	}
	listeners.Lock()
	defer listeners.Unlock()
	if listeners.all[l.key] != nil {
		return fmt.Errorf("afxdp: this process listens on %v already", l.local)
	}
	if listeners.all == nil {
		listeners.all = map[listenKey]*Listener{}
	}
	listeners.all[l.key] = l
	return nil
}

func (l *Listener) unregister() {
	listeners.Lock()
	defer listeners.Unlock()
	if listeners.all[l.key] == l {
		delete(listeners.all, l.key)
	}
}

func listenerAt(k listenKey) *Listener {
	listeners.Lock()
	defer listeners.Unlock()
	return listeners.all[k]
}

// read hears what comes by the kernel's way, until the socket is closed.
func (l *Listener) read() {
	defer close(l.ended)
	var b [2048]byte // a greeting has helloSize; the rest of what is longer is of no interest
	for {
		n, from, err := l.socket.ReadFromUDPAddrPort(b[:])
		switch {
		case err == nil:
			l.hear(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), b[:n])
		case errors.Is(err, net.ErrClosed):
			return
		default:
			time.Sleep(time.Millisecond) // out of memory, or the like
		}
	}
}

// hear takes a datagram of somebody who is no peer. It never blocks.
func (l *Listener) hear(from netip.AddrPort, b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, err := getHead(b)
	if err != nil || h.kind != typeHello {
		l.stats.Malformed++
		return
	}
	theirs := getHello(b)
	if !theirs.ask || theirs.challenge {
		l.stats.Malformed++
		return
	}
	now := time.Now()
	ours := hello{reliable: l.options.Reliable, datagram: uint32(max(l.options.Datagram, minDatagram))}
	switch {
	case theirs.suits(&l.options.Options) != nil:
		l.stats.Mismatched++
		l.answer(now, from, helloDatagram(newSession(), h.session, 0, ours))
	case h.here == 0 || !l.cookies.is(now, h.here, from, h.session):
		l.stats.Challenged++
		ours.challenge = true
		l.answer(now, from, helloDatagram(newSession(), h.session, l.cookies.of(now, from, h.session), ours))
	default:
		l.enter(&stranger{from, h.session, theirs, now})
	}
}

// enter puts a stranger into the backlog, unless it is there, or there is no
// place for it.
func (l *Listener) enter(s *stranger) {
	if old := l.waiting[s.from]; old != nil {
		*old = *s // it may have started anew
		return
	}
	if l.peers[s.from] {
		return // its connection's own socket gets the next of these
	}
	if len(l.peers) >= l.options.MaxPeers || l.hosts[hostOf(s.from)] >= l.options.MaxPerHost {
		l.stats.Refused++
		return
	}
	select {
	case l.backlog <- s:
		l.waiting[s.from], l.peers[s.from] = s, true
		l.hosts[hostOf(s.from)]++
	default:
		l.stats.Refused++
	}
}

// leave frees a place.
func (l *Listener) leave(from netip.AddrPort) {
	if !l.peers[from] {
		return
	}
	delete(l.peers, from)
	host := hostOf(from)
	if l.hosts[host]--; l.hosts[host] == 0 {
		delete(l.hosts, host)
	}
}

// hostOf is what MaxPerHost counts by.
func hostOf(a netip.AddrPort) netip.Prefix {
	bits := 32
	if a.Addr().Is6() {
		bits = 64
	}
	p, _ := a.Addr().WithZone("").Prefix(bits) // both are in range
	return p
}

// answer sends one datagram, no longer than what it answers to.
func (l *Listener) answer(now time.Time, to netip.AddrPort, b [helloSize]byte) {
	if now.Sub(l.since) > time.Second {
		l.answered, l.since = 0, now
	}
	if l.answered == maxAnswers {
		l.stats.Limited++
		return
	}
	l.answered++
	address, err := sockaddr(to)
	if err != nil {
		return // a zone that is gone
	}
	_ = l.raw.Control(func(fd uintptr) {
		_ = unix.Sendto(int(fd), b[:], unix.MSG_DONTWAIT, address) // it will be asked again
	})
}
