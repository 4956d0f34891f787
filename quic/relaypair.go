package quic

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/identity"
)

// relayPair passes the packets of two nodes on. Each has a socket of its own, at
// the address at which it reaches the relay, and says where it is, again and
// again, so that it may move.
//
// Packets go nowhere but to an address that has answered a challenge there
// moments ago, with what only the node of that side can make: else a node that
// is let in could have others flooded, or reach into the relay's own network, by
// forging whence it comes.
type relayPair struct {
	relay  *relay
	caller identity.ID
	sides  [2]relaySide
	secret [32]byte // of its challenges
	ends   time.Time
	once   sync.Once

	mu      sync.Mutex
	rate    bucket // of bytes
	carried int64
	last    time.Time // that something was passed on, or the pair made
	over    bool
	stops   []func() bool // of endWith
}

type relaySide struct {
	socket     *net.UDPConn
	token      relayToken
	bind       relayTag               // what the node says to be challenged
	at         atomic.Pointer[proven] // nil until it has shown where it is
	challenges bucket
}

// proven is where a node is, for a while.
type proven struct {
	addr  netip.AddrPort
	until time.Time
}

const (
	// provenFor is how long packets go where a node has shown that it is. It says
	// so anew every bindPace.
	provenFor = 4 * bindPace
	// challengesPerSecond of a side, and as many at once. An honest node needs a
	// few when it begins, and then one every bindPace.
	challengesPerSecond = 16
	// rateFirst is the seconds of its rate that a pair may send at once.
	rateFirst = 0.25
)

// newPair makes a pair for a caller. at are the addresses at which it and whom it
// calls reach the relay.
func (r *relay) newPair(caller identity.ID, at [2]net.Addr, now time.Time) (*relayPair, error) {
	p := &relayPair{relay: r, caller: caller, ends: now.Add(r.opts.Lifetime), last: now}
	p.rate = newBucket(float64(r.opts.Rate), max(float64(r.opts.Rate)*rateFirst, maxDatagram), now)
	_, err := rand.Read(p.secret[:])
	for i := range p.sides {
		err = errors.Join(err, p.sides[i].open(at[i].(*net.UDPAddr), now))
	}
	if err != nil {
		return nil, errors.Join(errors.New("no socket for another pair"), p.shut())
	}
	return p, nil
}

func (s *relaySide) open(at *net.UDPAddr, now time.Time) (err error) {
	s.challenges = newBucket(challengesPerSecond, challengesPerSecond, now)
	if s.socket, err = net.ListenUDP("udp", &net.UDPAddr{IP: at.IP, Zone: at.Zone}); err != nil {
		return err
	}
	_, err = rand.Read(s.token[:])
	s.bind = s.token.bind()
	return err
}

func (p *relayPair) shut() (err error) {
	for i := range p.sides {
		if s := p.sides[i].socket; s != nil {
			err = errors.Join(err, s.Close())
		}
	}
	return err
}

func (p *relayPair) pass(side int) pass {
	s := &p.sides[side]
	return pass{port: uint16(s.socket.LocalAddr().(*net.UDPAddr).Port), token: s.token}
}

// carry passes on what one side sends, until the pair ends.
func (p *relayPair) carry(side int) {
	defer p.end()
	from, to := &p.sides[side], &p.sides[1-side]
	b := make([]byte, maxDatagram)
	for {
		if from.socket.SetReadDeadline(earlierOf(time.Now().Add(p.relay.opts.Idle), p.ends)) != nil {
			return
		}
		n, sender, err := from.socket.ReadFromUDPAddrPort(b)
		now := time.Now()
		if err != nil || !isQUIC(b[:n]) {
			// None of this is a sign of use: a node says where it is for ever.
			if p.isIdle(now) {
				return
			}
			if err == nil {
				p.hear(from, b[:n], sender, now)
			}
			continue
		}
		at := to.whereabouts(now)
		if at == nil || !from.isAt(sender, now) {
			if p.isIdle(now) {
				return
			}
			continue
		}
		if goes, over := p.afford(int64(n), now); over {
			return
		} else if goes {
			_, _ = to.socket.WriteToUDPAddrPort(b[:n], at.addr)
		}
	}
}

// maxDatagram is more than QUIC's packets have on any path.
const maxDatagram = 64 << 10

func earlierOf(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// isQUIC reports whether a datagram can be a packet of QUIC's (RFC 9443).
func isQUIC(b []byte) bool { return len(b) > 0 && b[0]&0xc0 != 0 }

// hear takes a side's word where it is: it is asked to show it, or has.
func (p *relayPair) hear(s *relaySide, b []byte, sender netip.AddrPort, now time.Time) {
	magic, tag, ok := parseRelayWord(b)
	switch {
	case !ok:
	case magic == bindMagic && tag.equal(s.bind):
		// The answer is no longer than the question.
		if s.challenges.take(1, now) {
			_, _ = s.socket.WriteToUDPAddrPort(relayWord(challengeMagic, p.challenge(sender, now)), sender)
		}
	case magic == proofMagic:
		for _, then := range []time.Time{now, now.Add(-challengeFor)} {
			if tag.equal(s.token.proof(p.challenge(sender, then))) {
				s.at.Store(&proven{sender, now.Add(provenFor)})
				return
			}
		}
	}
}

// whereabouts returns where the node is; nil if it hasn't shown it lately.
func (s *relaySide) whereabouts(now time.Time) *proven {
	if at := s.at.Load(); at != nil && now.Before(at.until) {
		return at
	}
	return nil
}

func (s *relaySide) isAt(sender netip.AddrPort, now time.Time) bool {
	at := s.whereabouts(now)
	return at != nil && at.addr == sender
}

// isIdle reports whether the pair has passed nothing on for too long, or lived
// long enough, or been closed.
func (p *relayPair) isIdle(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over || !now.Before(p.ends) || now.Sub(p.last) >= p.relay.opts.Idle
}

// lastUse is when something was passed on last, or the pair made.
func (p *relayPair) lastUse() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// afford takes n bytes from what the rate allows and says whether they may go,
// or everything is used up.
func (p *relayPair) afford(n int64, now time.Time) (goes, over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.rate.take(float64(n), now) {
		return false, false // lost, and the senders slow down
	}
	p.carried += n
	p.last = now
	return true, p.carried > p.relay.opts.Total
}

// endWith has the pair end when a node closes its connection with the relay, or
// is thrown out; not when one breaks.
func (p *relayPair) endWith(connections ...context.Context) {
	for _, ctx := range connections {
		stop := context.AfterFunc(ctx, func() {
			var meant *quicgo.ApplicationError
			if errors.As(context.Cause(ctx), &meant) {
				p.end()
			}
		})
		p.mu.Lock()
		over := p.over
		if !over {
			p.stops = append(p.stops, stop)
		}
		p.mu.Unlock()
		if over {
			stop()
		}
	}
}

// end ends the pair, once.
func (p *relayPair) end() {
	p.once.Do(func() {
		p.mu.Lock()
		p.over = true
		stops := p.stops
		p.mu.Unlock()
		_ = p.shut()
		for _, stop := range stops {
			stop()
		}
		p.relay.mu.Lock()
		defer p.relay.mu.Unlock()
		p.relay.remove(p)
	})
}

// bucket allows so many of something a second, and some at once. Fractions are
// kept: what comes in many small steps is as much as in one.
type bucket struct {
	rate, most, spare float64
	filled            time.Time
}

func newBucket(rate, most float64, now time.Time) bucket {
	return bucket{rate: rate, most: most, spare: most, filled: now}
}

func (b *bucket) fill(now time.Time) {
	if passed := now.Sub(b.filled); passed > 0 {
		b.spare = min(b.spare+passed.Seconds()*b.rate, b.most)
		b.filled = now
	}
}

// take takes n out, if there are so many.
func (b *bucket) take(n float64, now time.Time) bool {
	b.fill(now)
	if b.spare < n {
		return false
	}
	b.spare -= n
	return true
}

func (b *bucket) full(now time.Time) bool {
	b.fill(now)
	return b.spare >= b.most
}
