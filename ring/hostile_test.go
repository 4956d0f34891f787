package ring

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/wire"
)

// prey is an honest process with a hostile peer: it reads from one ring and
// writes into another, and the peer does as it likes to all of both. Whatever
// that is, the prey's calls must end, without a panic, with an error that is
// documented, and touch nothing outside.
type prey struct {
	t        testing.TB
	in, out  *Memory
	c        *Consumer
	p        *Producer
	own      *Doorbell
	peer     *Doorbell
	polled   []wire.Vesicle
	claims   []wire.Vesicle
	corrupt  int // calls that said so
	received int
	sink     byte
}

// sides takes the prey's roles; false if the peer has made that impossible.
func (x *prey) sides() bool {
	var err error
	if x.c, err = NewConsumer(x.in, x.own, x.peer); err != nil {
		x.may("NewConsumer", err, ErrInUse)
		return false
	}
	if x.p, err = NewProducer(x.out, x.own, x.peer); err != nil {
		x.may("NewProducer", err, ErrInUse, ErrCorrupt)
		return false
	}
	return true
}

// may fails unless err is nil or one of those that a hostile peer may cause.
func (x *prey) may(what string, err error, which ...error) {
	x.t.Helper()
	if errors.Is(err, ErrCorrupt) {
		x.corrupt++
	}
	for _, w := range append(which, nil) {
		if err == w || w != nil && errors.Is(err, w) {
			return
		}
	}
	x.t.Fatalf("%s: %v", what, err)
}

// act does one of the things that a process does to its rings.
func (x *prey) act(op, arg int) {
	switch op % 9 {
	case 0, 1:
		in := make([]wire.Vesicle, 1+arg%40)
		n, err := x.c.Poll(in)
		x.may("Poll", err, ErrCorrupt)
		if err != nil && n != 0 {
			x.t.Fatalf("Poll = %d and %v", n, err)
		}
		x.received += n
		x.polled = append(x.polled, in[:n]...)
		x.touch(in[:n])
	case 2:
		n := min(1+arg%40, len(x.polled))
		x.touch(x.polled[:n])
		x.may("Release", x.c.Release(n))
		x.polled = x.polled[n:]
	case 3:
		size := arg * x.p.MaxPayload() / 255
		if arg%2 == 0 {
			size = arg
		}
		vs := make([]wire.Vesicle, 1+arg%10)
		n, err := x.p.Claim(vs, size)
		x.may("Claim", err, ErrCorrupt, ErrFull)
		x.claims = append(x.claims, vs[:n]...)
	case 4:
		n := min(1+arg%12, len(x.claims))
		for i := range x.claims[:n] {
			v := &x.claims[i]
			v.Header = wire.Header{Kind: wire.KindEvent}
			v.Payload = v.Payload[:len(v.Payload)*(arg%4+1)/4]
			for j := range v.Payload {
				v.Payload[j] = byte(arg)
			}
		}
		if err := x.p.Commit(x.claims[:n]); err != nil {
			x.t.Fatalf("Commit: %v", err) // nothing shared decides about it
		}
		x.claims = x.claims[n:]
	case 5:
		x.may("Flush", x.p.Flush(), ErrCorrupt)
	case 6:
		x.p.Abort()
		x.claims = nil
	case 7:
		if x.c.Arm() {
			x.c.Disarm()
		}
		if x.p.ArmSpace(arg) {
			x.p.DisarmSpace()
		}
	case 8:
		if n := x.p.Unread(); n < 0 || n > x.out.Size() {
			x.t.Fatalf("Unread = %d", n)
		}
		_, _ = x.c.Stats(), x.p.Stats()
	}
}

// touch reads all of the payloads, and bounds them.
func (x *prey) touch(vs []wire.Vesicle) {
	for _, v := range vs {
		if len(v.Payload) > x.in.Size()-prefixSize || len(v.Payload) != int(v.Header.Length) {
			x.t.Fatalf("a payload of %d bytes for %+v", len(v.Payload), v.Header)
		}
		if err := v.Header.Validate(); err != nil {
			x.t.Fatalf("Poll handed out %+v: %v", v.Header, err)
		}
		for _, b := range v.Payload {
			x.sink += b
		}
	}
}

// scribbler is the hostile peer's hand: what it does to one mapping.
type scribbler struct {
	m *Memory
	r *rand.Rand
}

func (s scribbler) all() []byte { return s.m.control.bytes(0, totalSize(s.m.kind, s.m.size, false)) }

// act does one harm. Some of them look like what an honest peer does, so that
// the prey goes on and meets the others.
func (s scribbler) act(op, arg int) {
	r, all := s.r, s.all()
	spans := uint32(s.m.size / line)
	switch op % 11 {
	case 10: // a record of any span that is full of payload
		off, span := uint64(r.Uint32N(spans))*line, r.Uint32N(spans)*line+line
		h := header(r.Uint32())
		h.Length = uint32(roomOf(uint64(span)))
		h.Put(s.m.data.header(off))
		*s.m.data.word(off) = span | stateReady
	case 0: // random bytes somewhere
		at := r.IntN(len(all))
		for i := at; i < min(at+1+arg, len(all)); i++ {
			all[i] = byte(r.Uint32())
		}
	case 1: // random bytes everywhere in the records
		s.noise(all[controlSize:])
	case 2: // random bytes in the control area
		s.noise(all[128:1024])
	case 3: // a plausible commit word
		*s.m.data.word(uint64(r.Uint32N(spans)) * line) = r.Uint32N(spans+2)*line | uint32(arg%5)
	case 4: // any commit word
		*s.m.data.word(uint64(r.Uint32N(spans)) * line) = r.Uint32()
	case 5: // honest records throughout, of one span
		span := uint64(1+arg%8) * line
		for off := uint64(0); off+span <= s.m.size; off += span {
			h := header(uint32(off))
			h.Length = uint32(roomOf(span))
			h.Put(s.m.data.header(off))
			*s.m.data.word(off) = uint32(span) | stateReady
		}
	case 6: // cursors: in whole lines, small steps, or anything
		*s.m.control.u64(offReaderCursor + uint64(arg%2)*128) = []uint64{
			uint64(arg) * line, r.Uint64(), *s.m.control.u64(offWriterCursor), *s.m.control.u64(offReaderCursor) + line, 0,
		}[r.IntN(5)]
	case 7: // sleep words and flags
		*s.m.control.word([]uint64{offReaderSleep, offWriterSleep, offReaderFlags, offWriterFlags}[arg%4]) = r.Uint32N(8)
	case 8: // padding throughout
		for off := uint64(0); off < s.m.size; off += line {
			*s.m.data.word(off) = line | statePadding
		}
	case 9: // the pages go
		if s.m.fd >= 0 {
			at := int64(r.IntN(len(all)/4096)) * 4096
			_ = unix.Fallocate(s.m.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, 4096*int64(1+arg%3))
		}
	}
}

func (s scribbler) noise(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, s.r.Uint64())
	}
}

func newPrey(t testing.TB) (*prey, [2]*Memory) {
	in, out := newMemory(t, Options{Size: MinSize}), newMemory(t, Options{Size: MinSize})
	return &prey{t: t, in: fenced(t, in), out: fenced(t, out), own: newBell(t), peer: newBell(t)}, [2]*Memory{in, out}
}

// FuzzHostile interleaves the prey's calls with harm to both rings. What is
// after the code is laid over the memory before all of it.
func FuzzHostile(f *testing.F) {
	f.Add([]byte{0, 5, 0, 2, 30, 0, 3, 9, 11, 4, 0}, []byte{}, uint64(1))
	f.Add([]byte{1, 6, 1, 0, 9, 11, 3, 200, 4, 3, 5, 0}, []byte{64, 0, 0, 0}, uint64(2))
	f.Add([]byte{0, 8, 0, 0, 39, 0, 0, 3, 7, 0, 9}, []byte{0x41, 0, 0, 0, 40, 0, 0, 0}, uint64(3))
	f.Fuzz(func(t *testing.T, code, overlay []byte, seed uint64) {
		if len(code) > 2000 {
			return
		}
		x, shared := newPrey(t)
		hand := scribbler{r: rand.New(rand.NewPCG(seed, 4))}
		if !x.sides() {
			t.Fatal("no sides of new rings")
		}
		for _, m := range shared {
			copy(m.data.bytes(0, m.size), overlay)
		}
		for ; len(code) >= 3; code = code[3:] {
			op, arg := int(code[1]), int(code[2])
			if code[0]%3 == 0 {
				hand.m = shared[code[0]/3%2]
				hand.act(op, arg)
			} else {
				x.act(op, arg)
			}
		}
		x.settle()
	})
}

// settle ends what is outstanding; a ring that has failed stays failed.
func (x *prey) settle() {
	for _, op := range []int{4, 5, 6, 2, 0, 2} {
		x.act(op, 255)
	}
	in := make([]wire.Vesicle, 4)
	if _, err := x.c.Poll(in); !errors.Is(err, ErrCorrupt) {
		return
	}
	for range 3 {
		if n, err := x.c.Poll(in); n != 0 || !errors.Is(err, ErrCorrupt) {
			x.t.Fatalf("a corrupt ring polls again: %d, %v", n, err)
		}
	}
}

func TestHostileMemory(t *testing.T) {
	rounds := 1500
	if brief() {
		rounds = 100
	}
	corrupt, received := 0, 0
	for round := range rounds {
		x, shared := newPrey(t)
		r := rand.New(rand.NewPCG(uint64(round), 5))
		if !x.sides() {
			t.Fatal("no sides of new rings")
		}
		for range 300 {
			if r.IntN(3) == 0 {
				scribbler{shared[r.IntN(2)], r}.act(r.IntN(11), r.IntN(256))
			} else {
				x.act(r.IntN(9), r.IntN(256))
			}
		}
		x.settle()
		corrupt += min(1, x.corrupt)
		received += x.received
		if t.Failed() {
			t.Fatalf("seed %d", round)
		}
	}
	if corrupt < rounds/3 || received == 0 {
		t.Errorf("%d of %d rings noticed, %d records read: the harm is too tame or too wild", corrupt, rounds, received)
	}
}

// Each breach alone, in a ring that works otherwise.
func TestBreachesAreNoticed(t *testing.T) {
	for _, v := range []struct {
		name   string
		breach func(x *pair)
	}{
		{"state 0 with a span", func(x *pair) { *x.near.data.word(0) = line }},
		{"an unknown state", func(x *pair) { *x.near.data.word(0) = line | 4 }},
		{"a claimed record", func(x *pair) { *x.near.data.word(0) = line | stateClaimed }},
		{"span 0", func(x *pair) { *x.near.data.word(0) = stateReady }},
		{"span 0 of padding", func(x *pair) { *x.near.data.word(0) = statePadding }},
		{"a span beyond the end", func(x *pair) { *x.near.data.word(0) = (MinSize + line) | stateReady }},
		{"a span over the end of the memory", func(x *pair) {
			x.receive(40)
			x.send(40, 40)
			x.receive(repeat(40, 40)...)
			x.send(1, 40)
			h := header(0)
			h.Length = 1900
			h.Put(x.near.data.header(41 * line))
			*x.near.data.word(41 * line) = 30*line | stateReady
		}},
		{"a span of all", func(x *pair) { *x.near.data.word(0) = MinSize | stateReady }},
		{"padding of all", func(x *pair) { *x.near.data.word(0) = MinSize | statePadding }},
		{"the largest span", func(x *pair) { *x.near.data.word(0) = spanMask | stateReady }},
		{"a length beyond the span", func(x *pair) { x.near.data.header(0)[0] = line - prefixSize + 1 }},
		{"the largest length", func(x *pair) { copy(x.near.data.header(0)[:], "\xff\xff\xff\xff") }},
		{"no kind", func(x *pair) { x.near.data.header(0)[16] = wire.Version << 4 }},
		{"another version", func(x *pair) { x.near.data.header(0)[16] ^= 0xf0 }},
		{"padding without end", func(x *pair) {
			for off := uint64(0); off < MinSize; off += line {
				*x.near.data.word(off) = line | statePadding
			}
		}},
		{"records without end", func(x *pair) {
			for off := uint64(line); off < MinSize; off += line {
				copy(x.near.data.bytes(off, line), x.near.data.bytes(0, line))
			}
		}},
	} {
		t.Run(v.name, func(t *testing.T) {
			x := newPair(t, MinSize)
			x.send(1, 40)
			v.breach(x)
			in, received, err := make([]wire.Vesicle, 200), 0, error(nil)
			for range 5 { // records that pass may come first
				var n int
				if n, err = x.c.Poll(in); err != nil {
					break
				}
				received += n
			}
			wants(t, "Poll", err, ErrCorrupt)
			if received > MinSize/line {
				t.Errorf("%d records out of one ring", received)
			}
			_, err = x.c.Poll(in)
			wants(t, "Poll again", err, ErrCorrupt)
			if x.c.Arm() {
				t.Error("Arm lets the consumer of a corrupt ring sleep")
			}
		})
	}
}

func TestBreachesOfTheCursorAreNoticed(t *testing.T) {
	for name, cursor := range map[string]uint64{
		"not in whole lines": 2*line - 1, "before what was released": 0,
		"beyond what was published": 4 * line, "the largest": 1<<64 - 1, "the largest line": 1<<64 - line,
	} {
		t.Run(name, func(t *testing.T) {
			x := newPair(t, MinSize)
			x.send(3, 0)
			x.poll(0, 0, 0)
			x.release(1)
			if x.p.Unread() != 2*line {
				t.Fatal("the producer does not see the release")
			}
			*x.far.control.u64(offReaderCursor) = cursor
			_, err := x.p.Claim(make([]wire.Vesicle, 1), x.p.MaxPayload())
			for size := 0; err == nil; {
				_, err = x.p.Claim(make([]wire.Vesicle, 1), size)
			}
			wants(t, "Claim", err, ErrCorrupt)
			wants(t, "Flush", x.p.Flush(), ErrCorrupt)
			if x.p.Unread() != 0 || x.p.ArmSpace(8) {
				t.Error("a corrupt ring has unread records, or lets the producer sleep")
			}
		})
	}
}
