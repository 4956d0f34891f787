package quic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/identity"
)

// bare is a pair that belongs to no connection, and a socket for each side of it
// and for a victim who has nothing to do with any of this.
type bare struct {
	*relayPair
	a, b, victim *net.UDPConn
}

func barePair(t *testing.T, o *RelayOptions) *bare {
	t.Helper()
	settled, err := o.settle()
	must(t, err)
	r := newRelay(settled)
	here := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	p, err := r.newPair(identity.ID{1}, [2]net.Addr{here, here}, time.Now())
	must(t, err)
	r.pairs[p], r.callers[p.caller] = struct{}{}, &caller{pairs: 1}
	go p.carry(0)
	go p.carry(1)
	t.Cleanup(p.end)
	return &bare{p, udp(t), udp(t), udp(t)}
}

func udp(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// say sends to a side of the pair.
func (p *bare) say(t testing.TB, from *net.UDPConn, side int, b []byte) {
	t.Helper()
	_, err := from.WriteTo(b, p.sides[side].socket.LocalAddr())
	must(t, err)
}

// hears returns the next datagram; nil if there is none.
func hears(t testing.TB, c *net.UDPConn, patience time.Duration) []byte {
	t.Helper()
	b := make([]byte, 2048)
	must(t, c.SetReadDeadline(time.Now().Add(patience)))
	n, err := c.Read(b)
	if err != nil {
		return nil
	}
	return b[:n]
}

// binds shows a relay's port that the socket is where it is.
func binds(t testing.TB, c *net.UDPConn, at net.Addr, token relayToken) {
	t.Helper()
	eventually(t, "a challenge", func() bool {
		_, err := c.WriteTo(relayWord(bindMagic, token.bind()), at)
		must(t, err)
		magic, challenge, ok := parseRelayWord(hears(t, c, 100*time.Millisecond))
		if !ok || magic != challengeMagic {
			return false
		}
		_, err = c.WriteTo(relayWord(proofMagic, token.proof(challenge)), at)
		must(t, err)
		return true
	})
}

func (p *bare) binds(t testing.TB, c *net.UDPConn, side int) {
	t.Helper()
	binds(t, c, p.sides[side].socket.LocalAddr(), p.sides[side].token)
	eventually(t, "the side is bound", func() bool { return p.sides[side].isAt(portOf(c), time.Now()) })
}

func portOf(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

var packet = append([]byte{0x40}, "a packet of QUIC's"...)

func TestARelayPassesPacketsOn(t *testing.T) {
	p := barePair(t, &RelayOptions{})
	p.binds(t, p.a, 0)
	p.binds(t, p.b, 1)
	p.say(t, p.a, 0, packet)
	if got := hears(t, p.b, patience); string(got) != string(packet) {
		t.Errorf("%q arrived", got)
	}
	p.say(t, p.b, 1, []byte{0, 'R', 'L', 'Q'}) // not a packet of QUIC's: it could pass for the relay's own
	p.say(t, p.b, 1, packet)
	if got := hears(t, p.a, patience); string(got) != string(packet) {
		t.Errorf("%q arrived", got)
	}
}

// A node that is let in forges whence it comes: packets must not go there.
func TestARelayFloodsNobody(t *testing.T) {
	for _, c := range []struct {
		name string
		bind func(t *testing.T, p *bare) // by node a, which would have the victim flooded
	}{
		{"a bind from the victim's address", func(t *testing.T, p *bare) {
			p.say(t, p.victim, 0, relayWord(bindMagic, p.sides[0].token.bind()))
		}},
		{"a proof by another address's challenge", func(t *testing.T, p *bare) {
			p.say(t, p.a, 0, relayWord(bindMagic, p.sides[0].token.bind()))
			_, challenge, ok := parseRelayWord(hears(t, p.a, patience))
			if !ok {
				t.Fatal("no challenge")
			}
			p.say(t, p.victim, 0, relayWord(proofMagic, p.sides[0].token.proof(challenge)))
		}},
		{"a guess", func(t *testing.T, p *bare) {
			p.say(t, p.victim, 0, relayWord(proofMagic, p.sides[0].token.proof(relayTag{})))
		}},
		{"the token itself", func(t *testing.T, p *bare) {
			p.say(t, p.victim, 0, relayWord(bindMagic, relayTag(p.sides[0].token)))
			p.say(t, p.victim, 0, relayWord(proofMagic, relayTag(p.sides[0].token)))
		}},
		{"the other side's token", func(t *testing.T, p *bare) {
			p.say(t, p.victim, 0, relayWord(bindMagic, p.sides[1].token.bind()))
		}},
		{"a packet before anything", func(t *testing.T, p *bare) {
			p.say(t, p.victim, 0, packet)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := barePair(t, &RelayOptions{})
			p.binds(t, p.b, 1)
			c.bind(t, p)
			for range 100 {
				p.say(t, p.b, 1, make([]byte, 1200))
				p.say(t, p.b, 1, append([]byte{0x40}, make([]byte, 1199)...))
			}
			// What was said before it has been heard by then.
			p.binds(t, p.a, 0)
			eventually(t, "an honest node hears what is said", func() bool {
				p.say(t, p.b, 1, packet) // again: the relay's socket may be full of the above
				return string(hears(t, p.a, 20*time.Millisecond)) == string(packet)
			})
			got := 0
			for b := hears(t, p.victim, 50*time.Millisecond); b != nil; b = hears(t, p.victim, 50*time.Millisecond) {
				got += len(b)
			}
			if got > bindSize { // a challenge, as long as the bind
				t.Errorf("%d bytes came to who has nothing to do with it", got)
			}
		})
	}
}

// The relay answers binds with as many bytes, and with few.
func TestChallengesAreFew(t *testing.T) {
	p := barePair(t, &RelayOptions{})
	now := time.Now()
	p.sides[0].challenges = newBucket(challengesPerSecond, challengesPerSecond, now)
	bind := relayWord(bindMagic, p.sides[0].token.bind())
	for range 10_000 { // all at one time
		p.hear(&p.sides[0], bind, portOf(p.victim), now)
	}
	got := 0
	for b := hears(t, p.victim, 50*time.Millisecond); b != nil; b = hears(t, p.victim, 50*time.Millisecond) {
		if len(b) != len(bind) {
			t.Errorf("a challenge of %d bytes for a bind of %d", len(b), len(bind))
		}
		got++
	}
	if got > challengesPerSecond {
		t.Errorf("%d challenges at once", got)
	}
	t.Logf("10,000 binds from a forged address: %d challenges of %d bytes went there", got, len(bind))
}

// Who was somewhere once can't have it flooded after it has left.
func TestAPlaceMustBeShownAnew(t *testing.T) {
	p := barePair(t, &RelayOptions{})
	now := time.Now()
	s := &p.sides[0]
	proof := relayWord(proofMagic, s.token.proof(p.challenge(portOf(p.a), now)))
	for _, c := range []struct {
		name  string
		after time.Duration
		good  bool
	}{
		{"at once", 0, true},
		{"a little later", challengeFor, true},
		{"again and again", 2 * challengeFor, false},
		{"before it was made", -challengeFor, false},
	} {
		s.at.Store(nil)
		p.hear(s, proof, portOf(p.a), now.Add(c.after))
		if got := s.isAt(portOf(p.a), now.Add(c.after)); got != c.good {
			t.Errorf("a proof that is used %s: %t", c.name, got)
		}
	}
	p.hear(s, proof, portOf(p.a), now)
	if s.whereabouts(now.Add(provenFor)) != nil {
		t.Error("it counts for longer than it may")
	}
}

// A pair that only says where it is goes.
func TestAPairThatPassesNothingOnEnds(t *testing.T) {
	p := barePair(t, &RelayOptions{Idle: 200 * time.Millisecond})
	p.binds(t, p.a, 0)
	p.binds(t, p.b, 1)
	eventually(t, "the pair's end", func() bool {
		_, _ = p.a.WriteTo(relayWord(bindMagic, p.sides[0].token.bind()), p.sides[0].socket.LocalAddr())
		_, _ = p.victim.WriteTo(packet, p.sides[1].socket.LocalAddr())
		return p.relay.count() == 0
	})
}

func TestBucketsKeepFractions(t *testing.T) {
	now := time.Unix(1000, 0)
	b := newBucket(1000, 10, now)
	got := 0.0
	for range 20_000 { // half a byte's time, 20,000 times: ten seconds
		now = now.Add(500 * time.Microsecond)
		if b.take(1, now) {
			got++
		}
	}
	if got < 9_990 || got > 10_010 {
		t.Errorf("%v of a thousand a second in ten seconds", got)
	}
	if b.take(11, now.Add(time.Hour)) || !b.take(10, now.Add(time.Hour)) {
		t.Error("it holds more or less than it should")
	}
	if b.take(1, now) {
		t.Error("a clock that is set back fills it")
	}
}

// slowStream is a waiter's stream whose peer reads when it is told to.
type slowStream struct {
	reads   chan int // how much of the next write
	written []byte
	over    atomic.Bool
}

func (s *slowStream) Write(b []byte) (int, error) {
	n := min(<-s.reads, len(b))
	s.written = append(s.written, b[:n]...)
	if n < len(b) {
		return n, context.DeadlineExceeded
	}
	return n, nil
}
func (s *slowStream) SetWriteDeadline(time.Time) error   { return nil }
func (s *slowStream) CancelWrite(quicgo.StreamErrorCode) { s.over.Store(true) }
func (s *slowStream) CancelRead(quicgo.StreamErrorCode)  {}

func TestWhoWaitsHearsTheAnswerFirst(t *testing.T) {
	settled, err := (&RelayOptions{}).settle()
	must(t, err)
	r, s := newRelay(settled), &slowStream{reads: make(chan int)}
	w := &waiter{stream: s}
	entered := make(chan error, 1)
	go func() {
		_, err := r.enter(identity.ID{2}, w)
		entered <- err
	}()
	eventually(t, "a caller finds it", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.waiting[identity.ID{2}] == w
	})
	called := make(chan error, 1)
	go func() { called <- w.write(pass{port: 7}.append(nil)) }()
	s.reads <- 1000
	must(t, <-entered)
	s.reads <- 1000
	must(t, <-called)
	if got := s.written; len(got) != answerSize+passHead || got[0] != statusAccepted || got[answerSize] != 7 {
		t.Errorf("%x", got)
	}
}

// After a part of a pass nothing more is said: it would be taken for the rest.
func TestAPassIsWrittenWholeOrIsTheLast(t *testing.T) {
	s := &slowStream{reads: make(chan int, 2)}
	w := &waiter{stream: s}
	s.reads <- 5
	s.reads <- 1000
	for range 2 {
		if err := w.write(pass{port: 7}.append(nil)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	}
	if len(s.written) != 5 || !s.over.Load() {
		t.Errorf("%x, ended: %t", s.written, s.over.Load())
	}
}

// asks calls a node by a relay and returns the pass, without using it.
func asks(t testing.TB, from *node, via Via, whom identity.ID) (*conn, pass, *quicgo.Stream, error) {
	t.Helper()
	c, s, err := from.askRelay(soon(t), via, callMagic, whom[:])
	if err != nil {
		return nil, pass{}, nil, err
	}
	p, err := readPass(s)
	return c, p, s, err
}

func (r *relay) of(id identity.ID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.callers[id]; k != nil {
		return k.pairs
	}
	return 0
}

// A caller that takes all it may hinders nobody: neither those who call the same
// node, nor, once all pairs are taken, those who call at all.
func TestAGreedyCallerIsNotTheOnlyOne(t *testing.T) {
	r := listen(t, 3, &Options{Relay: &RelayOptions{MaxPairs: 4, MaxPairsOfPeer: 4}}, 1, 2, 4, 5)
	greedy, b := listen(t, 1, nil, 2, 3), listen(t, 2, nil, 4, 5, 3)
	via := Via{Addr: r.Addr().String(), ID: r.key.ID()}
	waits(t, b, r, via)
	for range 4 {
		_, _, _, err := asks(t, greedy, via, b.key.ID())
		must(t, err)
	}
	if _, _, _, err := asks(t, greedy, via, b.key.ID()); !errors.Is(err, ErrRefused) {
		t.Errorf("a fifth: %v", err)
	}
	for i, n := range []*node{listen(t, 4, nil, 2, 3), listen(t, 5, nil, 2, 3)} {
		x, err := n.DialVia(soon(t), via, b.key.ID(), nil)
		must(t, err)
		y, err := b.Accept(soon(t))
		must(t, err)
		works(t, x, y)
		if got := r.relay.of(greedy.key.ID()); got != 3-i {
			t.Errorf("the greedy one has %d pairs left", got)
		}
	}
	// What is fair stays: two have one, one has two.
	if got := r.relay.count(); got != 4 {
		t.Errorf("%d pairs", got)
	}
}

func TestCallsAreFew(t *testing.T) {
	const most = 3
	r := listen(t, 3, &Options{Relay: &RelayOptions{MaxPairsOfPeer: most}}, 1, 2, 4)
	hasty, b, c := listen(t, 1, nil, 2, 3), listen(t, 2, nil, 4, 3), listen(t, 4, nil, 2, 3)
	via := Via{Addr: r.Addr().String(), ID: r.key.ID()}
	waits(t, b, r, via)
	begin, passed := time.Now(), 0
	for range 100 {
		_, _, s, err := asks(t, hasty, via, b.key.ID())
		if err == nil {
			passed++
			must(t, s.Close()) // so it may have another
		} else if !errors.Is(err, ErrRefused) {
			t.Fatal(err)
		}
	}
	if allowed := most + callPace*(time.Since(begin).Seconds()+1); float64(passed) > allowed {
		t.Errorf("%d calls were passed on in %v", passed, time.Since(begin))
	}
	x, err := c.DialVia(soon(t), via, b.key.ID(), nil)
	must(t, err)
	y, err := b.Accept(soon(t))
	must(t, err)
	works(t, x, y)
}

// One who is let in by the relay begins handshakes with a node that it calls, and
// leaves them: others who call by the same relay still get in.
func TestHandshakesThroughARelayTakeFewPlaces(t *testing.T) {
	r := listen(t, 3, &Options{Relay: &RelayOptions{}}, 1, 2, 4)
	hostile, b, c := listen(t, 1, nil, 3), listen(t, 2, nil, 3, 4), listen(t, 4, nil, 2, 3)
	via := Via{Addr: r.Addr().String(), ID: r.key.ID()}
	waits(t, b, r, via)
	con, p, _, err := asks(t, hostile, via, b.key.ID())
	must(t, err)
	socket, at := udp(t), sideAt(con, p)
	binds(t, socket, at, p.token)
	first := initialPackets(t, 100)
	eventually(t, "its handshakes", func() bool {
		for _, b := range first {
			_, _ = socket.WriteTo(b, at)
		}
		return b.gate.count() > 0
	})
	for range 5 {
		for _, b := range first {
			_, _ = socket.WriteTo(b, at)
		}
	}
	x, err := c.DialVia(soon(t), via, b.key.ID(), nil)
	must(t, err)
	y, err := b.Accept(soon(t))
	must(t, err)
	works(t, x, y)
	if got := b.gate.count(); got > relayedHandshakes {
		t.Errorf("%d handshakes in progress", got)
	}
}

// Who is thrown out at the relay loses its pairs, caller or called.
func TestWhoIsRevokedIsRelayedNoMore(t *testing.T) {
	for name, whom := range map[string]byte{"the caller": 1, "whom it calls": 2} {
		t.Run(name, func(t *testing.T) {
			r := listen(t, 3, &Options{Relay: &RelayOptions{}}, 1, 2)
			a, b := listen(t, 1, nil, 2, 3), listen(t, 2, nil, 1, 3)
			via := Via{Addr: r.Addr().String(), ID: r.key.ID()}
			waits(t, b, r, via)
			x, err := a.DialVia(soon(t), via, b.key.ID(), nil)
			must(t, err)
			y, err := b.Accept(soon(t))
			must(t, err)
			works(t, x, y)
			must(t, r.trust.Revoke(numbered(whom).ID()))
			eventually(t, "the pair's end", func() bool { return r.relay.count() == 0 })
		})
	}
}

// A relay that says yes and then nothing keeps nobody.
func TestARelayThatFallsSilent(t *testing.T) {
	c, err := identity.NewCredentials(numbered(3))
	must(t, err)
	l, err := quicgo.ListenAddr("127.0.0.1:0", identity.DeferredServerTLS(c, ALPN), nil)
	must(t, err)
	defer l.Close()
	answered := make(chan struct{})
	go func() {
		q, err := l.Accept(context.Background())
		if err != nil {
			return
		}
		s, err := q.AcceptStream(context.Background())
		if err != nil {
			return
		}
		_, _ = s.Write(appendAnswer(nil, statusAccepted, 0, 0, ""))
		close(answered)
	}()
	a := listen(t, 1, &Options{HandshakeTimeout: time.Hour}, 2, 3)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	done := make(chan error, 1)
	go func() {
		_, err := a.DialVia(ctx, Via{Addr: l.Addr().String(), ID: numbered(3).ID()}, numbered(2).ID(), nil)
		done <- err
	}()
	<-answered
	cancel(enough)
	select {
	case err := <-done:
		if !errors.Is(err, enough) {
			t.Errorf("%v", err)
		}
	case <-time.After(patience):
		t.Error("it waits though its context has ended")
	}
}

// Garbage at a pair's ports, from whoever finds them, costs time and no memory,
// and the two nodes go on.
func TestGarbageAtAPairsPorts(t *testing.T) {
	r := listen(t, 3, &Options{Relay: &RelayOptions{}}, 1, 2)
	a, b := listen(t, 1, nil, 2, 3), listen(t, 2, nil, 1, 3)
	via := Via{Addr: r.Addr().String(), ID: r.key.ID()}
	waits(t, b, r, via)
	x, err := a.DialVia(soon(t), via, b.key.ID(), nil)
	must(t, err)
	y, err := b.Accept(soon(t))
	must(t, err)
	works(t, x, y)
	var at []net.Addr
	r.relay.mu.Lock()
	for p := range r.relay.pairs {
		at = append(at, p.sides[0].socket.LocalAddr(), p.sides[1].socket.LocalAddr())
	}
	r.relay.mu.Unlock()
	before, cpu, sent := heap(), cpuTime(t), 0
	socket := udp(t)
	words := [][]byte{packet, relayWord(bindMagic, relayTag{}), relayWord(proofMagic, relayTag{}), make([]byte, 1400), {0}, {0x40}}
	for range 20 {
		for i := range 5000 {
			_, _ = socket.WriteTo(words[i%len(words)], at[i%2])
			sent++
		}
		works(t, x, y)
	}
	grown := heap() - before
	t.Logf("%d datagrams: %d KiB more heap, %v of CPU for both sides, %v each", sent, grown>>10, cpuTime(t)-cpu, (cpuTime(t)-cpu)/time.Duration(sent))
	if grown > 4<<20 {
		t.Errorf("%d bytes more are in use", grown)
	}
	if got := hears(t, socket, 50*time.Millisecond); got != nil {
		t.Errorf("it was answered: %x", got)
	}
}

// cpuTime is what this process has used of processors.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestRelayingOfAnotherVersionIsRefused(t *testing.T) {
	r := listen(t, 3, &Options{Relay: &RelayOptions{}}, 1)
	a := listen(t, 1, nil, 3)
	c, _, err := a.connect(soon(t), r.Addr().String(), r.key.ID(), false)
	must(t, err)
	s, err := c.q.OpenStreamSync(soon(t))
	must(t, err)
	old := relayHead(waitMagic, false)
	old[4] = 1
	_, err = s.Write(old)
	must(t, err)
	if err := readVerdict(soon(t), s); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), fmt.Sprint("speaks ", relayVersion)) {
		t.Errorf("%v", err)
	}
}
