package link_test

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// FuzzReassembler sends pieces of a few vesicles in an order, with losses,
// repetitions and forgeries that the fuzzer chooses. Whatever comes out must be
// a vesicle that went in, once for each time that all of its pieces came, and
// the limits must hold throughout.
func FuzzReassembler(f *testing.F) {
	f.Add(uint64(1), []byte{0, 1, 2, 3, 4, 5, 6, 7})
	f.Add(uint64(2), []byte{0xff, 0, 0x80, 1, 0x81, 2, 0x40, 0x41})
	f.Add(uint64(3), bytes.Repeat([]byte{0, 1, 2, 3, 17, 18, 19, 33, 34, 35, 200}, 20))
	f.Fuzz(func(t *testing.T, seed uint64, script []byte) {
		rng := rand.New(rand.NewPCG(seed, 7))
		limits := link.ReassemblyLimits{Message: 5000, Memory: 20000, Partial: 3, Ahead: 3000, Idle: time.Second}
		r := newReassembler(t, limits)
		sent := make([]model, 4)
		for i := range sent {
			sent[i] = newModel(rng, uint32(i))
		}
		now := int64(0)
		tainted := false // a forged piece was taken for an honest one
		for _, b := range script {
			m := &sent[b&3]
			p := m.pieces[int(b>>2)%len(m.pieces)]
			p.Payload = bytes.Clone(p.Payload)
			forged := rng.IntN(16) == 0
			if forged {
				forge(rng, &p)
			} else {
				m.came[int(b>>2)%len(m.pieces)] = true
			}
			now += rng.Int64N(int64(limits.Idle) / 8)
			whole, err := r.Add(&p, now)
			tainted = tainted || forged && err == nil
			if whole && !tainted {
				checkWhole(t, sent, p)
			}
			if whole && err != nil {
				t.Fatalf("whole, and %v", err)
			}
			if n, memory := r.Pending(); n > limits.Partial || memory > limits.Memory {
				t.Fatalf("%d vesicles under way and %d bytes, limits %+v", n, memory, limits)
			}
		}
		r.Reset()
		s := r.Stats()
		if s.Fragments < s.Whole+s.Duplicates || s.Fragments < s.Dropped() {
			t.Fatalf("counters contradict each other: %+v", s)
		}
	})
}

// model is a vesicle that was sent, and its pieces.
type model struct {
	whole  wire.Vesicle
	pieces []wire.Vesicle
	came   []bool
}

func newModel(rng *rand.Rand, sequence uint32) model {
	payload := pattern(8+rng.IntN(4000), rng.Uint64())
	m := model{whole: wire.Vesicle{
		Header: wire.Header{
			Kind: wire.KindStreamItem, Flags: wire.Flags(rng.IntN(8)) << 2 &^ wire.FlagFragment, Correlation: 1,
			Fingerprint: 2, Hops: uint8(rng.IntN(256)), Length: uint32(len(payload)),
		},
		Payload: payload,
	}}
	for offset := 0; offset < len(payload); {
		n := min(1+rng.IntN(1000), len(payload)-offset)
		p := piece(sequence, uint32(len(payload)), uint32(offset), string(payload[offset:offset+n]))
		more := p.Header.Flags & wire.FlagMore
		p.Header, offset = m.whole.Header, offset+n
		p.Header.Flags |= wire.FlagFragment | more
		p.Header.Length = uint32(len(p.Payload))
		m.pieces = append(m.pieces, p)
	}
	m.came = make([]bool, len(m.pieces))
	return m
}

// forge makes a piece lie about itself in some way.
func forge(rng *rand.Rand, p *wire.Vesicle) {
	switch rng.IntN(3) {
	case 0:
		p.Payload = p.Payload[:rng.IntN(len(p.Payload)+1)]
	case 1:
		p.Payload[rng.IntN(wire.FragmentSize)] ^= 1 << rng.IntN(8)
	case 2:
		p.Header.Flags ^= 1 << rng.IntN(5)
	}
	p.Header.Length = uint32(len(p.Payload))
}

// checkWhole is asked only while no forged piece has been believed: telling
// forgeries of good form is for the medium's checksum, not for this layer.
func checkWhole(t *testing.T, sent []model, got wire.Vesicle) {
	t.Helper()
	for _, m := range sent {
		if got.Header != m.whole.Header || !bytes.Equal(got.Payload, m.whole.Payload) {
			continue
		}
		for i, came := range m.came {
			if !came {
				t.Fatalf("whole without piece %d", i)
			}
		}
		return
	}
	t.Fatalf("a vesicle came out that nobody sent: %+v", got.Header)
}
