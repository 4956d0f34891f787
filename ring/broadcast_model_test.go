package ring

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

// airModel runs random operations of a publisher and some subscribers. What a
// record must hold follows from its number alone.
type airModel struct {
	*air
	places    []wire.Vesicle
	published uint32
	listeners []*listener
}

type listener struct {
	s      *Subscriber
	next   uint64 // number of the next record
	lost   uint64
	polled []uint64 // positions of outstanding records
}

func (m *airModel) run(code []byte) {
	m.join(Newest)
	m.join(Oldest)
	for ; len(code) >= 3; code = code[3:] {
		l := m.listeners[int(code[0]>>4)%len(m.listeners)]
		n, arg := int(code[1]), int(code[2])
		switch code[0] % 16 {
		case 0, 1, 2:
			m.claim(1+n%9, arg*arg/110)
		case 3, 4:
			m.commitSome(n, arg)
		case 5, 6:
			m.flush()
		case 7:
			m.p.Abort()
			m.places = nil
			m.check()
		case 8, 9, 10:
			m.poll(l, n)
		case 11, 12:
			m.release(l, n)
		case 13, 14:
			m.receive(l)
		case 15:
			if len(m.listeners) < 6 {
				m.join(Start(n % 2))
			} else {
				l.next, l.lost = m.rejoin(l, Start(n%2)), 0
			}
		}
	}
}

func (m *airModel) join(from Start) {
	l := &listener{}
	m.listeners = append(m.listeners, l)
	l.next = m.rejoin(l, from)
}

func (m *airModel) rejoin(l *listener, from Start) uint64 {
	s, err := NewSubscriber(m.m, from, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	l.s, l.polled = s, nil
	if from == Newest && s.Sequence() != uint64(m.published) || s.Sequence() > uint64(m.published) {
		m.t.Fatalf("begins at %d of %d, from %v", s.Sequence(), m.published, from)
	}
	if p := s.next; m.p.raised-p > m.p.size {
		m.t.Fatal("begins at a record that is overwritten")
	}
	return s.Sequence()
}

func (m *airModel) claim(n, size int) {
	vs := make([]wire.Vesicle, n)
	size = min(size, m.p.MaxPayload())
	before := m.p.flushed
	got, err := m.p.Claim(vs, size)
	if err != nil && !(errors.Is(err, ErrFull) && len(m.places) > 0) {
		m.t.Fatalf("Claim = %d, %v with %d outstanding", got, err, len(m.places))
	}
	m.places = append(m.places, vs[:got]...)
	if m.p.flushed != before {
		m.published = m.sent // claiming made room by publishing
	}
	m.check()
}

func (m *airModel) commitSome(n, shorten int) {
	n = min(n%12, len(m.places))
	for i := range m.places[:n] {
		v := &m.places[i]
		v.Payload = v.Payload[:max(0, len(v.Payload)-shorten%50)]
	}
	issue(m.places[:n], label{0, m.sent})
	if err := m.p.Commit(m.places[:n]); err != nil {
		m.t.Fatal(err)
	}
	m.sent += uint32(n)
	m.places = m.places[n:]
	m.check()
}

func (m *airModel) flush() {
	if err := m.p.Flush(); err != nil {
		m.t.Fatal(err)
	}
	m.published = m.sent
	m.check()
}

// check holds the publisher to what subscribers rely on.
func (m *airModel) check() {
	p := m.p
	newest, cursor, intent := *p.newest, *p.cursor, *p.intent
	switch {
	case intent < p.claim || intent != p.raised:
		m.t.Fatalf("claims up to %d, intent is %d", p.claim, intent)
	case cursor != p.flushed || newest > cursor || newest == cursor && cursor != 0:
		m.t.Fatalf("newest %d, cursor %d", newest, cursor)
	case newest+p.size*17/32 < intent: // see unpublishedPart
		m.t.Fatalf("newest %d is about to be overwritten: intent %d", newest, intent)
	}
}

// lapping says whether l has to find that it was lapped.
func (m *airModel) lapping(l *listener) bool { return m.p.raised-l.s.next > m.p.size }

func (m *airModel) lap(l *listener) {
	if l.s.Lost()-l.lost != l.s.Sequence()-l.next || l.s.Sequence() <= l.next {
		m.t.Fatalf("at %d, goes on at %d, lost %d more", l.next, l.s.Sequence(), l.s.Lost()-l.lost)
	}
	l.next, l.lost = l.s.Sequence(), l.s.Lost()
	if m.lapping(l) || l.next >= uint64(m.published) {
		m.t.Fatal("goes on at nothing")
	}
}

func (m *airModel) poll(l *listener, n int) {
	in := make([]wire.Vesicle, n%10)
	lapping, at := m.lapping(l), l.s.next
	got, err := l.s.Poll(in)
	if errors.Is(err, ErrLapped) && lapping && got == 0 {
		m.lap(l)
		return
	}
	// Where everything is read already, nobody notices.
	want := min(len(in), int(uint64(m.published)-l.next), maxPolled-len(l.polled))
	if err != nil || got > want || got == 0 && want > 0 || lapping && got > 0 {
		m.t.Fatalf("Poll = %d, %v; want %d, lapping: %v", got, err, want, lapping)
	}
	for _, v := range in[:got] {
		m.expect(l, v)
		l.polled = append(l.polled, at) // or later: at least as intact
	}
	if l.s.Sequence() != l.next {
		m.t.Fatal("sequence", l.s.Sequence(), l.next)
	}
}

func (m *airModel) expect(l *listener, v wire.Vesicle) {
	if got, err := labelOf(v); err != nil || uint64(got.number) != l.next {
		m.t.Fatalf("record %v (%v), want %d", got, err, l.next)
	}
	l.next++
}

func (m *airModel) release(l *listener, n int) {
	n %= len(l.polled) + 1
	valid := l.s.Valid()
	intact, err := l.s.Release(n)
	if err != nil || n > 0 && intact != valid {
		m.t.Fatal("Release:", intact, valid, err)
	}
	if n > 0 && !intact && m.p.raised-l.polled[0] <= m.p.size {
		m.t.Fatal("declared overwritten, which it is not")
	}
	if l.polled = l.polled[n:]; !intact {
		l.lost += uint64(n)
	}
	if l.s.Lost() != l.lost {
		m.t.Fatal("lost", l.s.Lost(), l.lost)
	}
}

func (m *airModel) receive(l *listener) {
	lapping := m.lapping(l)
	v, err := l.s.Receive(make([]byte, m.p.MaxPayload()))
	switch {
	case errors.Is(err, ErrLapped) && lapping:
		m.lap(l)
	case errors.Is(err, ErrEmpty) && l.next == uint64(m.published):
	case err == nil && !lapping:
		m.expect(l, v)
	default:
		m.t.Fatalf("Receive: %v, lapping: %v", err, lapping)
	}
}

func TestBroadcastRandomOperations(t *testing.T) {
	rounds := 400
	if brief() {
		rounds = 50
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(uint64(round), 11))
		code := make([]byte, 1+r.IntN(9000))
		for i := range code {
			code[i] = byte(r.Uint32())
		}
		(&airModel{air: newAir(t, MinSize<<(round%3))}).run(code)
	}
}

// writableAir is broadcast memory without the seal against writing, so that a
// test can do harm to it, mapped so that no access outside goes unnoticed.
func writableAir(t testing.TB) (hand, prey *Memory) {
	t.Helper()
	hand = newMemory(t, Options{Size: MinSize})
	hand.kind = Broadcast
	*hand.control.word(offKind) = uint32(Broadcast)
	return hand, fenced(t, hand)
}

// harmAir is what a hostile publisher does in particular.
func (s scribbler) harmAir(op, arg int) {
	r := s.r
	word := []uint64{offWriterCursor, offNewest, offIntent, offWaypoints + uint64(arg%waypointCount)*8}[r.IntN(4)]
	switch op % 6 {
	case 0:
		*s.m.control.u64(word) = r.Uint64()
	case 1:
		*s.m.control.u64(word) = uint64(r.IntN(300)) * line
	case 2:
		*s.m.control.u64(word) += uint64(arg) * line
	case 3: // honest records of one span, with any numbers
		span := uint64(1+arg%8) * line
		for off, seq := uint64(0), uint64(arg); off+span <= s.m.size; off, seq = off+span, seq+1 {
			h := labelled(label{0, uint32(off)})
			h.Length = uint32(span - numberedSize)
			h.Put(s.m.data.header(off))
			*s.m.data.u64(off + offSequence) = seq
			*s.m.data.word(off) = uint32(span) | stateReady
		}
	default:
		s.act(op/6, arg)
	}
}

// airPrey is a subscriber of a hostile publisher.
type airPrey struct {
	t    testing.TB
	m    *Memory
	s    *Subscriber
	out  int
	sink byte
}

func (x *airPrey) may(what string, err error, which ...error) {
	x.t.Helper()
	for _, w := range append(which, nil, ErrCorrupt, ErrLapped) {
		if err == w || w != nil && errors.Is(err, w) {
			return
		}
	}
	x.t.Fatalf("%s: %v", what, err)
}

func (x *airPrey) touch(v wire.Vesicle) {
	if len(v.Payload) != int(v.Header.Length) || v.Header.Validate() != nil {
		x.t.Fatalf("handed out %+v with %d bytes", v.Header, len(v.Payload))
	}
	for _, b := range v.Payload {
		x.sink += b
	}
}

func (x *airPrey) act(op, arg int) {
	if x.s == nil {
		s, err := NewSubscriber(x.m, Start(arg%2), nil)
		x.may("NewSubscriber", err)
		x.s, x.out = s, 0
		return
	}
	switch op % 6 {
	case 0, 1:
		in := make([]wire.Vesicle, arg%9)
		n, err := x.s.Poll(in)
		x.may("Poll", err)
		for _, v := range in[:n] {
			x.touch(v)
		}
		x.out += n
	case 2:
		n := min(arg%9, x.out)
		_, err := x.s.Release(n)
		x.may("Release", err)
		x.out -= n
	case 3:
		v, err := x.s.Receive(make([]byte, arg*8))
		x.may("Receive", err, ErrEmpty, ErrTooLarge)
		if err == nil {
			x.touch(v)
		}
	case 4:
		x.s.Valid()
		x.s.Arm()
	case 5:
		x.s = nil
	}
}

// FuzzBroadcast has two modes: random operations, and a hostile publisher, of
// which a subscriber must neither panic nor hang nor touch a byte outside.
func FuzzBroadcast(f *testing.F) {
	f.Add([]byte{0, 3, 100, 3, 3, 0, 5, 0, 0, 8, 5, 0, 13, 0, 0, 11, 3, 0}, false, uint64(0))
	f.Add([]byte{0, 8, 200, 3, 8, 60, 0, 8, 250, 7, 0, 0, 5, 0, 0, 15, 1, 0, 24, 9, 0}, false, uint64(0))
	f.Add([]byte{0, 3, 1, 0, 1, 9, 1, 0, 9, 1, 0, 9, 1, 3, 90, 0, 0, 0, 1, 0, 5}, true, uint64(1))
	f.Add([]byte{0, 32, 0, 0, 1, 77, 1, 0, 0, 2, 0, 9, 2, 3, 90, 1, 5, 0, 2, 0, 1}, true, uint64(2))
	f.Fuzz(func(t *testing.T, code []byte, hostile bool, seed uint64) {
		if len(code) > 3000 {
			return
		}
		if !hostile {
			(&airModel{air: newAir(t, MinSize)}).run(code)
			return
		}
		m, prey := writableAir(t)
		x := &airPrey{t: t, m: prey}
		hand := scribbler{m: m, r: rand.New(rand.NewPCG(seed, 6))}
		for ; len(code) >= 3; code = code[3:] {
			if code[0]%3 == 0 {
				hand.harmAir(int(code[1]), int(code[2]))
			} else {
				x.act(int(code[1]), int(code[2]))
			}
		}
	})
}

func TestBroadcastHostileMemory(t *testing.T) {
	rounds := 1500
	if brief() {
		rounds = 100
	}
	for round := range rounds {
		t.Run("", func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(round), 13))
			m, prey := writableAir(t)
			x, hand := &airPrey{t: t, m: prey}, scribbler{m: m, r: r}
			for range 100 {
				if r.IntN(4) == 0 {
					hand.harmAir(r.IntN(100), r.IntN(256))
				} else {
					x.act(r.IntN(100), r.IntN(256))
				}
			}
		})
	}
}

// The breaches that only a hostile publisher can commit are called by name.
func TestBroadcastBreachesAreNoticed(t *testing.T) {
	for name, harm := range map[string]func(a *air){
		"a span of zero":          func(a *air) { *a.m.data.word(0) = stateReady },
		"a span beyond the end":   func(a *air) { *a.m.data.word(0) = 2*MinSize | stateReady },
		"a span beyond the batch": func(a *air) { *a.m.data.word(0) = 4*line | stateReady },
		"an unknown state":        func(a *air) { *a.m.data.word(0) = line | 7 },
		"a claimed record":        func(a *air) { *a.m.data.word(0) = line | stateClaimed },
		"another's number":        func(a *air) { *a.m.data.u64(offSequence) = 1 },
		"no header":               func(a *air) { *a.m.data.header(0) = [wire.HeaderSize]byte{} },
		"a length beyond the span": func(a *air) {
			h := wire.Header{Kind: wire.KindEvent, Length: line - numberedSize + 1}
			h.Put(a.m.data.header(0))
		},
		"a cursor off the lines": func(a *air) { *a.m.control.u64(offWriterCursor) = 3*line + 8 },
		"a cursor too far away":  func(a *air) { *a.m.control.u64(offWriterCursor) = 1 << 40 },
		"a cursor that falls":    func(a *air) { *a.m.control.u64(offWriterCursor) = ^uint64(63) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAir(t, MinSize)
			s, r := a.subscriber(Newest), a.subscriber(Newest)
			a.publish(3, 20)
			harm(a)
			good := 0
			if strings.HasPrefix(name, "a cursor") {
				good = 3 // records that are read before anybody can notice
			}
			var err error
			for i := 0; err == nil && i <= good; i++ {
				_, err = s.Poll(make([]wire.Vesicle, 1))
			}
			if !errors.Is(err, ErrCorrupt) {
				t.Error("Poll:", err)
			}
			err = nil
			for i := 0; err == nil && i <= good; i++ {
				_, err = r.Receive(make([]byte, 64))
			}
			if !errors.Is(err, ErrCorrupt) {
				t.Error("Receive:", err)
			}
		})
	}
}
