package ring

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

// model runs a ring beside plain queues and fails when they differ.
type model struct {
	*pair
	claims    []wire.Vesicle // claimed
	committed []int          // lengths of committed records
	published []int          // and of those flushed, not polled
	polled    []held         // and of those polled, not released
	released  uint32
}

// held is a polled record and its number, to see that it stays as it was.
type held struct {
	v      wire.Vesicle
	number uint32
}

// run executes operations coded in bytes, two or three each.
func (m *model) run(code []byte) {
	next := func() int {
		if len(code) == 0 {
			return 0
		}
		b := code[0]
		code = code[1:]
		return int(b)
	}
	for len(code) > 0 {
		switch op, arg := next(), next(); op % 12 {
		case 0:
			m.claimSome(1+arg%8, next())
		case 1:
			m.commitSome(arg, next())
		case 2:
			m.flushAll()
		case 3:
			m.pollSome(1 + arg%16)
		case 4:
			m.releaseSome(arg)
		case 5:
			m.p.Abort()
			m.claims = nil
		case 6:
			m.misuse()
		case 7:
			m.armData()
		case 8:
			m.armSpace(arg)
		case 9: // a whole exchange at once, so that short codes go far, too
			m.claimSome(1+arg%4, next())
			m.commitSome(255, 0)
			m.flushAll()
			m.pollSome(16)
			m.releaseSome(255)
		case 10:
			m.writeSome(1+arg%40, next())
		case 11: // a stream of single records, most of them a line long
			for range 1 + arg%32 {
				m.writeSome(1, 4*(arg%5))
				m.pollSome(1)
			}
			m.releaseSome(arg)
		}
		m.unread()
	}
	m.settle()
}

// size makes small, middle and largest lengths from one byte.
func (m *model) size(code int) int {
	switch {
	case code < 160:
		return code
	case code < 250:
		return (code - 150) * m.p.MaxPayload() / 100
	}
	return m.p.MaxPayload() - code%3
}

func (m *model) claimSome(n, code int) {
	size := m.size(code)
	vs := make([]wire.Vesicle, n)
	got, err := m.p.Claim(vs, size)
	idle := len(m.claims)+len(m.committed)+len(m.published)+len(m.polled) == 0
	switch {
	case err != nil && (got != 0 || !errors.Is(err, ErrFull)):
		m.t.Fatalf("Claim = %d, %v", got, err)
	case err != nil && idle:
		m.t.Fatalf("Claim of %d bytes in an empty ring: %v", size, err)
	}
	for _, v := range vs[:got] {
		content(v.Payload, 0xfeedface) // what old bytes look like
	}
	m.claims = append(m.claims, vs[:got]...)
}

func (m *model) commitSome(arg, cut int) {
	n := min(arg, len(m.claims))
	vs := m.claims[:n]
	for i := range vs {
		if (cut>>(i%8))&1 == 1 {
			vs[i].Payload = vs[i].Payload[:len(vs[i].Payload)*(cut%16)/16]
		}
		m.committed = append(m.committed, len(vs[i].Payload))
	}
	m.commit(vs)
	m.claims = m.claims[n:]
}

// writeSome writes n records, of which code says how long they are: all of a
// line, or some of them others.
func (m *model) writeSome(n, code int) {
	vs := make([]wire.Vesicle, n)
	for i := range vs {
		size := onePayload
		if code%4 != 0 && (i+code)%(1+code%4) == 0 {
			size = m.size((code + 37*i) % 256)
		}
		vs[i] = wire.Vesicle{Header: header(m.sent + uint32(i)), Payload: make([]byte, size)}
		vs[i].Header.Length = 12345 // Write must not believe it
		content(vs[i].Payload, m.sent+uint32(i))
	}
	got, err := m.p.Write(vs)
	if len(m.claims) > 0 {
		wants(m.t, "Write with places claimed", err, ErrOrder)
		return
	}
	idle := len(m.committed)+len(m.published)+len(m.polled) == 0
	switch {
	case got == 0:
		wants(m.t, "Write that wrote nothing", err, ErrFull)
		if idle {
			m.t.Fatalf("Write of %d bytes into an empty ring: %v", len(vs[0].Payload), err)
		}
	case err != nil:
		m.t.Fatalf("Write = %d of %d, %v", got, n, err)
	}
	m.published = append(m.published, m.committed...)
	m.committed = m.committed[:0]
	for _, v := range vs[:got] {
		m.published = append(m.published, len(v.Payload))
	}
	m.sent += uint32(got)
}

func (m *model) flushAll() {
	m.flush()
	m.published = append(m.published, m.committed...)
	m.committed = m.committed[:0]
}

func (m *model) pollSome(most int) {
	in := make([]wire.Vesicle, most)
	n, err := m.c.Poll(in)
	if want := min(most, len(m.published), maxPolled-len(m.polled)); n != want || err != nil {
		m.t.Fatalf("Poll of up to %d = %d, %v, want %d", most, n, err, want)
	}
	for i, v := range in[:n] {
		m.polled = append(m.polled, held{v, m.received})
		m.check(v, m.published[i])
	}
	m.published = m.published[n:]
}

func (m *model) releaseSome(arg int) {
	n := min(arg, len(m.polled))
	for _, h := range m.polled[:n] {
		m.received = h.number // look again: it must be as it was
		m.check(h.v, len(h.v.Payload))
	}
	m.release(n)
	m.polled = m.polled[n:]
	m.released += uint32(n)
	m.received = m.released + uint32(len(m.polled))
}

func (m *model) misuse() {
	wants(m.t, "Commit of one too many", m.p.Commit(make([]wire.Vesicle, len(m.claims)+1)), ErrOrder)
	wants(m.t, "Release of one too many", m.c.Release(len(m.polled)+1), ErrOrder)
	_, err := m.p.Claim(make([]wire.Vesicle, 1), m.p.MaxPayload()+1)
	wants(m.t, "Claim of too much", err, ErrTooLarge)
}

func (m *model) armData() {
	if armed := m.c.Arm(); armed != (len(m.published) == 0) {
		m.t.Fatalf("Arm = %v with %d records to poll", armed, len(m.published))
	} else if armed {
		m.c.Disarm()
	}
}

func (m *model) armSpace(code int) {
	size := m.size(code)
	if !m.p.ArmSpace(size) {
		return
	}
	m.p.DisarmSpace()
	_, err := m.p.Claim(make([]wire.Vesicle, 1), size)
	wants(m.t, "Claim after ArmSpace said there is no room", err, ErrFull)
}

func (m *model) unread() {
	if some := m.p.Unread() > 0; some != (len(m.published)+len(m.polled) > 0) {
		m.t.Fatalf("Unread = %d with %d records published and %d polled", m.p.Unread(), len(m.published), len(m.polled))
	}
}

// settle brings everything through; then the largest record must fit.
func (m *model) settle() {
	for len(m.claims)+len(m.committed)+len(m.published)+len(m.polled) > 0 {
		m.commitSome(1<<20, 0)
		m.flushAll()
		m.pollSome(maxPolled)
		m.releaseSome(1 << 20)
	}
	m.claimSome(1, 251)
	m.commitSome(1, 0)
	m.flushAll()
	m.pollSome(1)
	m.releaseSome(1)
	m.empty()
}

func TestRandomOperationsAgainstQueues(t *testing.T) {
	rounds := 300
	if brief() {
		rounds = 40
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(uint64(round), 1))
		code := make([]byte, 1+r.IntN(6000))
		for i := range code {
			code[i] = byte(r.Uint32())
		}
		m := &model{pair: newPair(t, MinSize<<(round%4))}
		m.run(code)
		if t.Failed() {
			t.Fatalf("seed %d", round)
		}
	}
}

func FuzzSPSC(f *testing.F) {
	f.Add([]byte{0, 3, 100, 1, 3, 0, 2, 0, 3, 8, 4, 3, 5, 0, 6, 0, 7, 0, 8, 251})
	f.Add([]byte{0, 7, 251, 1, 1, 0xff, 2, 0, 5, 0, 9, 1, 250})
	f.Add([]byte{9, 3, 40, 9, 3, 41, 9, 0, 255, 0, 0, 99, 0, 1, 3, 1, 1, 5, 2, 0})
	f.Fuzz(func(t *testing.T, code []byte) {
		if len(code) > 4096 {
			return
		}
		(&model{pair: newPair(t, MinSize)}).run(code)
	})
}
