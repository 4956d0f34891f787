package can

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// losses is what a bus does to the frames of two nodes: it loses runs of data
// frames, and control frames beside, in silence.
type losses struct {
	rng     *rand.Rand
	run     int // data frames still to be lost
	after   int // flows and resumes of which
	control int // … so many percent are lost
}

// counts are those at which low bits of a number come back, and their
// neighbours.
var counts = []int{1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 127, 128, 129, 255, 256, 257}

func (l *losses) begin() {
	l.run = counts[l.rng.IntN(len(counts))]
	if l.rng.IntN(4) == 0 {
		l.run = 1 + l.rng.IntN(300)
	}
	l.control = []int{0, 0, 30, 90}[l.rng.IntN(4)]
	l.after = l.rng.IntN(40)
}

func (l *losses) drop(_ *Port, f *Frame) bool {
	switch {
	case f.ID.Class() != ClassControl:
		if l.run > 0 {
			l.run--
			return true
		}
	case f.ID.Detail()>>opShift >= opFlow && f.ID.Detail()>>opShift != opBye && l.after > 0:
		l.after--
		return l.rng.IntN(100) < l.control
	}
	return false
}

// traffic makes the i-th vesicle of a direction. The styles are those whose
// frames have few bits of their number, many, and all kinds in turn.
func (l *losses) traffic(style, i int) (h wire.Header, payload []byte) {
	h = wire.Header{Fingerprint: known, Kind: wire.KindEvent, Hops: 16}
	size := 4 + i%4
	switch style {
	case 1: // starts of one frame
		h.Kind, size = wire.KindCancel, 4
	case 2:
		h.Correlation, h.Kind, size = uint32(i), wire.KindRequest, 4+l.rng.IntN(30)
	case 3:
		if size = 4 + l.rng.IntN(4); l.rng.IntN(4) == 0 {
			size = l.rng.IntN(1500) + 4
		}
	}
	payload = make([]byte, size)
	for k := range payload {
		payload[k] = byte(i >> (8 * (k % 4)))
	}
	return h, payload
}

// lossRun sends vesicles both ways over a bus that loses frames in the worst
// numbers, and demands each of them once and in order. It returns how many
// frames were lost, and how many sent again.
func lossRun(t *testing.T, seed uint64) (lost, resent uint64) {
	l := &losses{rng: rand.New(rand.NewPCG(seed, 5))}
	window := []int{4, 7, 8, 15, 16, 17, 64, 64, 64, 128, 250}[l.rng.IntN(11)]
	open := false
	s := newSim(t, ModelConfig{
		FD: l.rng.IntN(3) == 0, Mailbox: 1 + l.rng.IntN(40),
		Drop: func(p *Port, f *Frame) bool {
			dropped := open && l.drop(p, f)
			if dropped {
				lost++
			}
			return dropped
		},
	}, Config{Node: 1, Routes: []uint64{known}, Dead: time.Minute, Window: window}, Config{Node: 2, Dead: time.Minute, Window: window})
	x, y := s.connect(0, 1)
	defer x.Close() // or a soak has all descriptors open at once
	defer y.Close()
	open = true
	const each = 150
	var sent, came [2]int
	var in [8]wire.Vesicle
	var expected [2][][]byte
	styles := [2]int{l.rng.IntN(4), l.rng.IntN(4)}
	ends := [2]*Conn{x, y}
	s.until(fmt.Sprintf("all vesicles of run %d", seed), func() bool {
		if l.rng.IntN(200) == 0 && sent[0] < each {
			l.begin()
		}
		if l.rng.IntN(500) == 0 { // as if the controller had been off
			ends[l.rng.IntN(2)].out.sendAgain()
		}
		for i, c := range ends {
			if sent[i] < each {
				h, payload := l.traffic(styles[i], sent[i])
				var v [1]wire.Vesicle
				if n, _ := c.Claim(v[:], len(payload)); n == 1 {
					copy(v[0].Payload, payload)
					v[0].Header = h
					if err := c.Commit(v[:]); err != nil {
						t.Fatal(err)
					}
					if err := c.Flush(); err != nil {
						t.Fatalf("run %d: %v", seed, err)
					}
					expected[i] = append(expected[i], payload)
					sent[i]++
				}
			}
			n, err := ends[1-i].Poll(in[:])
			if err != nil {
				t.Fatalf("run %d: after %d vesicles: %v", seed, came[i], err)
			}
			for _, v := range in[:n] {
				if came[i] >= sent[i] || !bytes.Equal(v.Payload, expected[i][came[i]]) {
					t.Fatalf("run %d, window %d, style %d: vesicle %d is % x", seed, window, styles[i], came[i], v.Payload[:4])
				}
				came[i]++
			}
			if n > 0 {
				if err := ends[1-i].Release(n); err != nil {
					t.Fatal(err)
				}
			}
		}
		return came[0] == each && came[1] == each
	})
	return lost, x.out.resent + y.out.resent
}

// Whatever number of frames is lost, without a report by controller or kernel:
// a link that calls itself reliable delivers every vesicle once and in order, and
// goes on.
func TestNoLossGoesUnnoticed(t *testing.T) {
	runs := 100
	if os.Getenv("CELL_SOAK") != "" {
		runs = 20_000
	}
	var lost, resent uint64
	for seed := range uint64(runs) {
		l, r := lossRun(t, seed)
		lost, resent = lost+l, resent+r
	}
	if lost < uint64(runs)*10 || resent < uint64(runs)*10 {
		t.Errorf("%d frames lost and %d sent again in %d runs: that tries nothing", lost, resent, runs)
	}
	t.Logf("%d runs, %d frames lost, %d sent again", runs, lost, resent)
}

// The same by count, in the worst of cases: a full pipe of short frames, all of
// those that are under way are lost but the last.
func TestLossOfAnyCountIsMadeGood(t *testing.T) {
	for _, window := range []int{16, 64} {
		for _, count := range counts {
			drop := 0
			s := newSim(t, ModelConfig{Drop: func(p *Port, f *Frame) bool {
				if f.ID.Class() != ClassControl && drop > 0 {
					drop--
					return true
				}
				return false
			}}, Config{Node: 1, Routes: []uint64{known}, Window: window}, Config{Node: 2, Window: window})
			x, y := s.connect(0, 1)
			if !x.Info().Reliable {
				t.Fatal("the link does not call itself reliable")
			}
			h := wire.Header{Fingerprint: known, Kind: wire.KindEvent, Hops: 16}
			for i := range 5 {
				s.send(x, h, numbered(i, 7))
				s.receive(y)
			}
			drop = count
			for i := range 100 {
				s.send(x, h, numbered(i, 7))
			}
			for i := range 100 {
				if v := s.receive(y); !bytes.Equal(v.Payload, numbered(i, 7)) {
					t.Fatalf("window %d, %d frames lost: vesicle %d is % x", window, count, i, v.Payload)
				}
			}
			if err := x.CheckPeer(); err != nil || y.in.missed == 0 && x.out.resent == 0 {
				t.Fatalf("window %d, %d frames lost: %v, %d gaps, %d sent again", window, count, err, y.in.missed, x.out.resent)
			}
		}
	}
}

// A peer that has got other frames than were sent ends the link.
func TestRunningCheckEndsTheLink(t *testing.T) {
	s := newSim(t, ModelConfig{}, routed(1), Config{Node: 2})
	x, y := s.connect(0, 1)
	h := wire.Header{Fingerprint: known, Kind: wire.KindEvent, Hops: 16}
	s.send(x, h, numbered(0, 7))
	s.receive(y)
	y.in.check ^= 0x0100
	for i := range 20 {
		s.send(x, h, numbered(i, 7))
	}
	s.idle(time.Second)
	var in [64]wire.Vesicle
	n, err := y.Poll(in[:])
	if err = errors.Join(err, y.Release(n)); err == nil {
		_, err = y.Poll(in[:])
	}
	if !errors.Is(err, link.ErrPeerGone) {
		t.Errorf("the receiver sees %v", err)
	}
	if err := x.CheckPeer(); !errors.Is(err, link.ErrCorrupt) {
		t.Errorf("the sender sees %v", err)
	}
}
