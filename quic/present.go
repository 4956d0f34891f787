package quic

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// passings are the ports of relays at which this node presents itself, by
// address. What comes from there goes by that relay.
type passings struct {
	mu   sync.Mutex
	at   map[netip.AddrPort]passing
	once sync.Once // of listening to challenges
}

type passing struct {
	token relayToken
	via   string // the relay, as Via.Addr has it
}

func (p *passings) add(at *net.UDPAddr, what passing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == nil {
		p.at = make(map[netip.AddrPort]passing)
	}
	p.at[unmapped(at)] = what
}

// remove takes one out again, if no other pair has got its port meanwhile.
func (p *passings) remove(at *net.UDPAddr, token relayToken) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if key := unmapped(at); p.at[key].token == token {
		delete(p.at, key)
	}
}

// find returns what is presented at an address.
func (p *passings) find(addr net.Addr) (what passing, ok bool) {
	at, isUDP := addr.(*net.UDPAddr)
	if !isUDP {
		return what, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	what, ok = p.at[unmapped(at)]
	return what, ok
}

// unmapped is an address as it is compared: IPv4 in one form.
func unmapped(a *net.UDPAddr) netip.AddrPort {
	at := a.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

const (
	// bindPace is how often a node tells a relay where it is, so that it may
	// move and its translator keeps the mapping.
	bindPace = 5 * time.Second
	// bindFirst repetitions come soon after each other: packets get lost.
	bindFirst = 3
	firstPace = 30 * time.Millisecond
)

// sideAt is where a relay has opened this side of a pair.
func sideAt(c *conn, p pass) *net.UDPAddr {
	at := *c.q.RemoteAddr().(*net.UDPAddr)
	at.Port = int(p.port)
	return &at
}

// present tells a relay at the port of a pass, which was added to passes, where
// this node is, again and again while wanted says so, and opens this side's
// translator for the other.
func (e *Endpoint) present(at *net.UDPAddr, p pass, punch bool, wanted func() bool) {
	defer e.passes.remove(at, p.token)
	e.passes.once.Do(func() { go e.answerChallenges() })
	bind := relayWord(bindMagic, p.token.bind())
	var other *net.UDPAddr
	if punch {
		other = numeric(p.other)
	}
	for i := 0; ; i++ {
		_, _ = e.transport.WriteTo(bind, at)
		pace := bindPace
		if i < bindFirst {
			pace = firstPace
			if other != nil {
				_, _ = e.transport.WriteTo(punchOnly, other)
			}
		}
		select {
		case <-time.After(pace):
		case <-e.closed:
			return
		}
		if i > bindFirst && !wanted() {
			return
		}
	}
}

// answerChallenges shows relays that this node is where it says, until the
// endpoint is closed. A challenge is answered to where it came from, if a pass
// leads there, and with as many bytes.
func (e *Endpoint) answerChallenges() {
	b := make([]byte, bindSize+1)
	for {
		n, from, err := e.transport.ReadNonQUICPacket(context.Background(), b)
		if err != nil {
			return
		}
		what, known := e.passes.find(from)
		if magic, challenge, ok := parseRelayWord(b[:n]); known && ok && magic == challengeMagic {
			_, _ = e.transport.WriteTo(relayWord(proofMagic, what.token.proof(challenge)), from)
		}
	}
}
