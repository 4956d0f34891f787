package ring

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

// fanModel runs random operations of several producers and the consumer
// against a list of claims in their order.
type fanModel struct {
	*fan
	writers []*modelWriter
	claims  []*modelClaim // oldest first, from the first that is not polled
	polled  []label
	made    uint32
}

type modelWriter struct {
	p       *SharedProducer
	id      uint64
	sender  uint32
	places  []wire.Vesicle
	pending []*modelClaim
	next    uint32
}

type modelClaim struct {
	label label
	state byte // 0 claimed, then:
	dead  bool
}

const (
	claimCommitted = 1
	claimAborted   = 2
)

func (m *fanModel) join() {
	m.made++
	id := processID(victimPID+int(m.made), 1)
	m.writers = append(m.writers, &modelWriter{p: m.producer(id), id: id, sender: m.made})
}

func (m *fanModel) run(code []byte) {
	m.join()
	m.join()
	for ; len(code) >= 3; code = code[3:] {
		w := m.writers[int(code[0]>>4)%len(m.writers)]
		n, arg := int(code[1]), int(code[2])
		switch code[0] % 16 {
		case 0, 1, 2, 3:
			m.claim(w, 1+n%9, arg*arg/60)
		case 4, 5, 6:
			m.commit(w, n, arg)
		case 7, 8, 9, 10:
			m.poll(n)
		case 11, 12:
			m.release(n)
		case 13:
			m.abort(w)
		case 14:
			if len(m.writers) < 5 {
				m.join()
			}
		case 15:
			m.leave(w, n%2 == 0)
		}
	}
	m.settle()
}

func (m *fanModel) claim(w *modelWriter, n, size int) {
	vs := make([]wire.Vesicle, n)
	got, err := w.p.Claim(vs, size)
	if err != nil && !errors.Is(err, ErrFull) || (got == 0) != (err != nil) {
		m.t.Fatalf("Claim = %d, %v", got, err)
	}
	if got < n && len(m.claims)+len(m.polled) == 0 && uint64(2*n)*spanOf(size) < m.m.size/2 {
		m.t.Fatalf("%d of %d × %d bytes in an empty ring", got, n, size)
	}
	for i := range vs[:got] {
		if len(vs[i].Payload) != size {
			m.t.Fatalf("a place of %d bytes, want %d", len(vs[i].Payload), size)
		}
		l := label{w.sender, w.next}
		w.next++
		issue(vs[i:i+1], l)
		c := &modelClaim{label: l}
		m.claims = append(m.claims, c)
		w.pending = append(w.pending, c)
	}
	w.places = append(w.places, vs[:got]...)
}

func (m *fanModel) commit(w *modelWriter, n, shorten int) {
	n = min(n%12, len(w.places))
	for i := range w.places[:n] {
		v := &w.places[i]
		v.Payload = v.Payload[:max(0, len(v.Payload)-shorten%50)]
		content(v.Payload, w.pending[i].label.number)
	}
	if err := errors.Join(w.p.Commit(w.places[:n]), w.p.Flush()); err != nil {
		m.t.Fatal(err)
	}
	for _, c := range w.pending[:n] {
		c.state = claimCommitted
	}
	w.places, w.pending = w.places[n:], w.pending[n:]
}

func (m *fanModel) abort(w *modelWriter) {
	w.p.Abort()
	for _, c := range w.pending {
		c.state = claimAborted
	}
	w.places, w.pending = nil, nil
}

// leave ends a producer: in order, or as a dead one that is found later.
func (m *fanModel) leave(w *modelWriter, orderly bool) {
	if len(m.writers) <= 2 {
		return
	}
	if orderly {
		m.abort(w)
		if err := w.p.Close(); err != nil {
			m.t.Fatal(err)
		}
	} else {
		for _, c := range w.pending {
			c.dead = true
		}
		w.p.guard.drop()
	}
	for i := range m.writers {
		if m.writers[i] == w {
			m.writers = append(m.writers[:i], m.writers[i+1:]...)
			return
		}
	}
}

// expect takes what the consumer must get next off the list.
func (m *fanModel) expect() (l label, ok bool) {
	for len(m.claims) > 0 {
		c := m.claims[0]
		if c.state == 0 && !c.dead {
			return label{}, false
		}
		m.claims = m.claims[1:]
		if c.state == claimCommitted {
			return c.label, true
		}
	}
	return label{}, false
}

// poll polls n records; several calls may be needed where the dead lie between.
func (m *fanModel) poll(n int) {
	in := make([]wire.Vesicle, n%10)
	have := 0
	for range len(m.claims) + 2 {
		m.c.Recover(m.gone)
		got, err := m.c.Poll(in[have:])
		if err != nil {
			m.t.Fatal("Poll:", err)
		}
		have += got
	}
	for _, v := range in[:have] {
		l, err := labelOf(v)
		want, ok := m.expect()
		if err != nil || !ok || l != want {
			m.t.Fatalf("polled %v (%v), want %v %v", l, err, want, ok)
		}
		m.polled = append(m.polled, l)
	}
	if have < len(in) {
		if want, ok := m.expect(); ok {
			m.t.Fatalf("polled %d of %d, though %v is there", have, len(in), want)
		}
	}
}

func (m *fanModel) gone(pid uint32) bool {
	for _, w := range m.writers {
		if pidOf(w.id) == pid {
			return false
		}
	}
	return true
}

func (m *fanModel) release(n int) {
	n %= len(m.polled) + 1
	if err := m.c.Release(n); err != nil {
		m.t.Fatal(err)
	}
	m.polled = m.polled[n:]
}

func (m *fanModel) settle() {
	for _, w := range m.writers {
		m.abort(w)
	}
	for range 10_000 {
		m.poll(9)
		m.release(len(m.polled))
		if len(m.claims) == 0 && !m.c.Stuck() {
			break
		}
	}
	m.poll(1)
	m.settled()
	if free := m.freeSlots(); free != slotCount-len(m.writers) {
		m.t.Fatalf("%d slots free with %d producers", free, len(m.writers))
	}
}

func TestSharedRandomOperationsAgainstAList(t *testing.T) {
	rounds := 100
	if brief() {
		rounds = 40
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(uint64(round), 7))
		code := make([]byte, 1+r.IntN(6000))
		for i := range code {
			code[i] = byte(r.Uint32())
		}
		m := &fanModel{fan: newFan(t, MinSize<<(round%4))}
		m.run(code)
	}
}

// fanPrey is the consumer and a producer of a ring whose memory a third party
// changes as it likes.
type fanPrey struct {
	t      testing.TB
	m      *Memory
	c      *SharedConsumer
	p      *SharedProducer
	claims []wire.Vesicle
	polled []wire.Vesicle
	sink   byte
}

func (x *fanPrey) may(what string, err error, which ...error) {
	x.t.Helper()
	for _, w := range append(which, nil, ErrCorrupt) {
		if err == w {
			return
		}
	}
	x.t.Fatalf("%s: %v", what, err)
}

func (x *fanPrey) act(op, arg int) {
	switch op % 8 {
	case 0:
		vs := make([]wire.Vesicle, 1+arg%5)
		n, err := x.p.Claim(vs, arg*8)
		x.may("Claim", err, ErrFull, ErrTooLarge)
		for i := range vs[:n] {
			vs[i].Header = wire.Header{Kind: wire.KindEvent}
			for j := range vs[i].Payload {
				vs[i].Payload[j] = byte(arg)
			}
		}
		x.claims = append(x.claims, vs[:n]...)
	case 1:
		n := min(arg%6, len(x.claims))
		if err := x.p.Commit(x.claims[:n]); err != nil {
			x.t.Fatal("Commit:", err)
		}
		x.claims = x.claims[n:]
		x.may("Flush", x.p.Flush())
	case 2:
		x.p.Abort()
		x.claims = nil
	case 3, 4:
		in := make([]wire.Vesicle, 1+arg%9)
		n, err := x.c.Poll(in)
		x.may("Poll", err)
		for _, v := range in[:n] {
			if len(v.Payload) != int(v.Header.Length) || v.Header.Validate() != nil {
				x.t.Fatalf("Poll handed out %+v with %d bytes", v.Header, len(v.Payload))
			}
			for _, b := range v.Payload {
				x.sink += b
			}
		}
		x.polled = append(x.polled, in[:n]...)
	case 5:
		n := min(arg%9, len(x.polled))
		if err := x.c.Release(n); err != nil {
			x.t.Fatal("Release:", err)
		}
		x.polled = x.polled[n:]
	case 6:
		x.c.Recover(func(pid uint32) bool { return pid%2 == 0 })
	case 7:
		x.c.Stuck()
		if x.c.Arm() {
			x.c.Disarm()
		}
	}
}

// harm is what a scribbler does to MPSC memory in particular.
func (s scribbler) harmFan(op, arg int) {
	r := s.r
	switch op % 4 {
	case 0: // a slot: owner, position, length
		*s.m.control.u64(offSlots + uint64(arg%4)*slotSize + uint64(r.IntN(3))*8) = []uint64{
			r.Uint64(), 0, uint64(r.IntN(200)) * line, processID(2+arg%2, 1),
		}[r.IntN(4)]
	case 1: // a claimed word
		*s.m.data.word(uint64(r.IntN(int(s.m.size/line))) * line) = claimedWord(uint32(arg%4), uint64(r.IntN(80))*line)
	default:
		s.act(op/4, arg)
	}
}

// FuzzMPSC has two modes: random operations against a list, and harm done to
// the memory meanwhile, by which nothing may panic, hang, or touch a byte
// outside.
func FuzzMPSC(f *testing.F) {
	f.Add([]byte{0, 3, 100, 20, 1, 30, 4, 3, 0, 7, 5, 0, 11, 5, 0}, false, uint64(0))
	f.Add([]byte{14, 0, 0, 32, 3, 90, 47, 1, 0, 0, 4, 4, 4, 9, 9, 7, 9, 0}, false, uint64(0))
	f.Add([]byte{1, 0, 10, 0, 1, 1, 1, 3, 5, 0, 0, 7, 1, 6, 0, 1, 3, 8}, true, uint64(1))
	f.Add([]byte{0, 5, 0, 0, 4, 1, 1, 6, 0, 1, 3, 8, 1, 0, 200, 1, 6, 1}, true, uint64(2))
	f.Fuzz(func(t *testing.T, code []byte, hostile bool, seed uint64) {
		if len(code) > 3000 {
			return
		}
		if !hostile {
			(&fanModel{fan: newFan(t, MinSize)}).run(code)
			return
		}
		m := newMemory(t, Options{Kind: MPSC, Size: MinSize})
		x := &fanPrey{t: t, m: fenced(t, m)}
		x.c, x.p = must(NewSharedConsumer(x.m, newBell(t))), must(NewSharedProducer(x.m, newBell(t)))
		hand := scribbler{m: m, r: rand.New(rand.NewPCG(seed, 5))}
		for ; len(code) >= 3; code = code[3:] {
			if code[0]%3 == 0 {
				hand.harmFan(int(code[1]), int(code[2]))
			} else {
				x.act(int(code[1]), int(code[2]))
			}
		}
	})
}

func TestSharedHostileMemory(t *testing.T) {
	rounds := 1000
	if brief() {
		rounds = 100
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(uint64(round), 9))
		m, err := Create(Options{Kind: MPSC, Size: MinSize})
		if err != nil {
			t.Fatal(err)
		}
		t.Run("", func(t *testing.T) {
			x := &fanPrey{t: t, m: fenced(t, m)}
			x.c, x.p = must(NewSharedConsumer(x.m, nil)), must(NewSharedProducer(x.m, nil))
			hand := scribbler{m: m, r: r}
			for range 100 {
				if r.IntN(4) == 0 {
					hand.harmFan(r.IntN(100), r.IntN(256))
				} else {
					x.act(r.IntN(100), r.IntN(256))
				}
			}
		})
		closed(t, m.Close())
	}
}
