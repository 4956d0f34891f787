package can

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

const known = 0x1122334455667788 // a fingerprint that both sides know

func routed(node NodeID) Config { return Config{Node: node, Routes: []uint64{known}} }

// counted sends one vesicle and returns how many data frames that took, and
// what came out.
func counted(s *sim, x, y *Conn, h wire.Header, payload []byte) (frames int, v wire.Vesicle) {
	s.seen = func(f *Frame) {
		if f.ID.From() == x.node.config.Node && f.ID.Class() != ClassControl {
			frames++
		}
	}
	s.send(x, h, payload)
	v = s.receive(y)
	s.seen = nil
	return frames, v
}

func TestFramesAreAsManyAsTheFormulaSays(t *testing.T) {
	for _, size := range []int{ClassicData, FDData} {
		t.Run(fmt.Sprintf("%d bytes a frame", size), func(t *testing.T) {
			s := newSim(t, ModelConfig{FD: size == FDData}, routed(1), Config{Node: 2})
			x, y := s.connect(0, 1)
			rng := rand.New(rand.NewPCG(1, 2))
			var last wire.Header
			for i := range 3000 {
				h := wire.Header{Kind: wire.Kind(1 + rng.IntN(8)), Correlation: uint32(i), Hops: 16, Fingerprint: known}
				n := rng.IntN(12)
				switch rng.IntN(8) {
				case 0:
					h.Correlation = rng.Uint32()
				case 1:
					h.Hops = uint8(rng.IntN(256))
					h.Channel = wire.Channel(rng.IntN(4))
				case 2:
					h.Fingerprint = rng.Uint64()
				case 3:
					h.Flags = wire.FlagEnd.WithPriority(uint8(rng.IntN(4)))
				case 4:
					h.Flags = wire.FlagDeadline
					n += wire.DeadlineSize
				case 5:
					h.Flags = wire.FlagFragment | wire.FlagMore
					n += wire.FragmentSize
				case 6:
					n = rng.IntN(4000)
				case 7:
					h.Correlation, h.Kind = last.Correlation, last.Kind
					if h.Kind == 0 {
						h.Kind = wire.KindEvent
					}
				}
				last = h
				form, _, _ := x.out.encoder.form(&h)
				payload := numbered(i, n)
				frames, v := counted(s, x, y, h, payload)
				if want := form.Frames(n, size); frames != want {
					t.Fatalf("%+v of %d bytes, %+v: %d frames, the formula says %d", h, n, form, frames, want)
				}
				h.Length = uint32(n)
				if v.Header != h || !bytes.Equal(v.Payload, payload) {
					t.Fatalf("%+v of %d bytes came as %+v % x", h, n, v.Header, v.Payload)
				}
			}
		})
	}
}

// What a caller and a server do all day: one classic frame each way.
func TestSmallCallTakesOneFrameEachWay(t *testing.T) {
	for _, v := range []struct {
		name        string
		correlation func(i int) uint32
		settled     int // calls after which it holds
	}{
		{"correlations from a counter", func(i int) uint32 { return uint32(i) }, 64},
		{"from a counter that begins anywhere", func(i int) uint32 { return 0xFFFFFFF0 + uint32(i) }, 66},
		{"slot and generation, one call at a time", func(i int) uint32 { return uint32(i) << 12 }, 2},
		{"slot and generation, eight calls in turn", func(i int) uint32 { return uint32(i/8)<<12 | uint32(i%8) }, 16},
	} {
		t.Run(v.name, func(t *testing.T) {
			s := newSim(t, ModelConfig{}, routed(1), Config{Node: 2})
			x, y := s.connect(0, 1)
			for i := range 500 {
				h := wire.Header{Fingerprint: known, Kind: wire.KindRequest, Hops: 16, Correlation: v.correlation(i)}
				there, request := counted(s, x, y, h, numbered(i, i%8))
				h.Kind = wire.KindReply
				back, reply := counted(s, y, x, h, request.Payload)
				if i >= v.settled && (there != 1 || back != 1) {
					t.Fatalf("call %d: %d frames there, %d back", i, there, back)
				}
				if reply.Header.Correlation != v.correlation(i) || !bytes.Equal(reply.Payload, numbered(i, i%8)) {
					t.Fatalf("call %d: %+v", i, reply)
				}
			}
		})
	}
}

func TestFourKiBOverFDWithinTenPercentOfItsWireTime(t *testing.T) {
	s := newSim(t, ModelConfig{FD: true}, routed(1), Config{Node: 2})
	x, y := s.connect(0, 1)
	h := wire.Header{Fingerprint: known, Kind: wire.KindReply, Hops: 16, Correlation: 1}
	s.idle(time.Millisecond)
	full := Frame{ID: MakeID(7, ClassNext, 2, 1, 0), Flags: FlagFD | FlagBRS, Len: FDData}
	form, _, _ := x.out.encoder.form(&h)
	frames := form.Frames(4096, FDData)
	last := full
	last.Len = uint8(DataLength((form.Prefix()+4096+checkSize-1)%FDData + 1))
	rates := s.model.config.Rates
	wireTime := time.Duration(frames-1)*FrameBits(&full).Most(rates) + FrameBits(&last).Most(rates)
	begin := s.model.Now()
	s.send(x, h, numbered(1, 4096))
	s.receive(y)
	took := s.model.Now() - begin
	t.Logf("%d frames: %v on the wire alone, %v in all (%.3f)", frames, wireTime, took, float64(took)/float64(wireTime))
	if took > wireTime*11/10 {
		t.Errorf("took %v, more than 1.1 times %v", took, wireTime)
	}
}

// A low-priority flood of others delays an urgent request by at most the one
// frame that is on the wire already.
func TestUrgentRequestWaitsForOneFrameAtMost(t *testing.T) {
	for _, fd := range []bool{false, true} {
		for offset := range 40 {
			s := newSim(t, ModelConfig{FD: fd}, routed(100), Config{Node: 101})
			x, y := s.connect(0, 1)
			longest := Frame{ID: MakeID(7, ClassNext, 1, 2, 0), Len: ClassicData}
			if fd {
				longest.Flags, longest.Len = FlagFD|FlagBRS, FDData
			}
			var flood []*Port
			for range 6 {
				flood = append(flood, s.model.Open())
			}
			fill := func() {
				for i, p := range flood {
					for f := longest; ; {
						f.ID = MakeID(7, ClassNext, NodeID(1+i), NodeID(50+i), 0)
						if p.Send(&f) != nil {
							break
						}
					}
				}
			}
			for range 20 + offset {
				fill()
				s.step()
			}
			fill()
			// The request is made at the worst moment: a flood frame has just won
			// arbitration. In the model that is before the step.
			h := wire.Header{Fingerprint: known, Kind: wire.KindRequest}
			h.Flags = h.Flags.WithPriority(3)
			if _, ok := s.model.Step(); !ok {
				t.Fatal("no flood")
			}
			begin := s.model.Now() - FrameBits(&longest).Most(s.model.config.Rates)
			fill()
			s.send(x, h, numbered(0, 7))
			s.step()
			fill()
			for _, n := range s.nodes {
				n.step()
			}
			var in [1]wire.Vesicle
			if n, err := y.Poll(in[:]); n != 1 || err != nil {
				t.Fatalf("fd %t: the request did not come next: %d, %v", fd, n, err)
			}
			own := Frame{ID: MakeID(1, ClassRequest, 101, 100, 0), Len: 8}
			if fd {
				own.Flags = FlagFD | FlagBRS
			}
			rates := s.model.config.Rates
			if took, most := s.model.Now()-begin, FrameBits(&longest).Most(rates)+FrameBits(&own).Most(rates); took > most {
				t.Fatalf("fd %t: took %v, want at most %v", fd, took, most)
			}
		}
	}
}

// An urgent vesicle to one peer passes a long one to another peer that the same
// node is sending.
func TestUrgentVesiclePassesLongOneOfTheSameNode(t *testing.T) {
	s := newSim(t, ModelConfig{Mailbox: 1}, routed(1), Config{Node: 2}, Config{Node: 3})
	x, _ := s.connect(0, 1)
	u, v := s.connect(0, 2)
	s.send(x, wire.Header{Fingerprint: known, Kind: wire.KindReply, Hops: 16}, numbered(1, 2000))
	s.step()
	s.step()
	frames := 0
	s.seen = func(f *Frame) { frames++ }
	h := wire.Header{Fingerprint: known, Kind: wire.KindRequest, Hops: 16}
	h.Flags = h.Flags.WithPriority(2)
	s.send(u, h, nil)
	s.receive(v)
	if frames > 3 { // one in the controller, one chosen, its own
		t.Errorf("it came as frame %d", frames)
	}
}

func TestLossesAreMadeGood(t *testing.T) {
	for _, fd := range []bool{false, true} {
		for _, percent := range []int{1, 5, 20} {
			t.Run(fmt.Sprintf("FD %t, %d%%", fd, percent), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(uint64(percent), 7))
				lossy := false
				s := newSim(t, ModelConfig{FD: fd, Drop: func(*Port, *Frame) bool { return lossy && rng.IntN(100) < percent }},
					Config{Node: 1, Routes: []uint64{known}, Dead: 30 * time.Second},
					Config{Node: 2, Dead: 30 * time.Second})
				x, y := s.connect(0, 1)
				lossy = true
				for i := range 300 {
					h := wire.Header{Fingerprint: known, Kind: wire.KindRequest, Correlation: uint32(i), Hops: 16}
					payload := numbered(i, rng.IntN(30))
					s.send(x, h, payload)
					if i%7 != 6 {
						continue
					}
					for k := i - 6; k <= i; k++ {
						if v := s.receive(y); v.Header.Correlation != uint32(k) || !bytes.Equal(v.Payload, numbered(k, len(v.Payload))) {
							t.Fatalf("vesicle %d is %+v", k, v.Header)
						}
					}
				}
				if y.in.missed == 0 || x.out.resent == 0 {
					t.Errorf("%d gaps, %d sent again", y.in.missed, x.out.resent)
				}
			})
		}
	}
}

func TestInterleavedTransfersFromManyNodes(t *testing.T) {
	for _, fd := range []bool{false, true} {
		configs := []Config{routed(0)}
		for i := 1; i <= 7; i++ {
			configs = append(configs, Config{Node: NodeID(i)})
		}
		s := newSim(t, ModelConfig{FD: fd}, configs...)
		var from, to []*Conn
		for i := 1; i <= 7; i++ {
			x, y := s.connect(i, 0)
			from, to = append(from, x), append(to, y)
		}
		switches, last := 0, NodeID(0)
		s.seen = func(f *Frame) {
			if f.ID.Class() != ClassControl && f.ID.From() != last {
				last = f.ID.From()
				switches++
			}
		}
		for i, c := range from {
			s.send(c, wire.Header{Fingerprint: uint64(i), Kind: wire.KindEvent}, numbered(i, 3000))
		}
		for i, c := range to {
			if v := s.receive(c); !bytes.Equal(v.Payload, numbered(i, 3000)) {
				t.Errorf("what node %d sent came changed", i+1)
			}
		}
		// Lower senders win arbitration, so transfers interleave where flow
		// control pauses them.
		if switches < 14 {
			t.Errorf("the transfers took turns %d times only", switches)
		}
	}
}

func TestEightNodesUnderFullLoad(t *testing.T) {
	m := NewModel(ModelConfig{FD: true})
	var nodes []*Node
	for i := range 8 {
		n := newNode(t, m.Open(NodeID(i)), Config{Node: NodeID(i), Dead: 10 * time.Second})
		defer n.Close()
		nodes = append(nodes, n)
	}
	meshLoad(t, nodes, 100)
	for i, n := range nodes {
		if s := n.Stats(); s.Lost != 0 || s.Malformed != 0 || s.Foreign != 0 {
			t.Errorf("node %d: %+v", i, s)
		}
	}
}

func TestBusOffAndRecovery(t *testing.T) {
	noise := false
	s := newSim(t, ModelConfig{Corrupt: func(f *Frame) bool { return noise && f.ID.From() == 1 }},
		Config{Node: 1, Routes: []uint64{known}, RestartAfter: 50 * time.Millisecond, Dead: 5 * time.Second},
		Config{Node: 2, Dead: 5 * time.Second})
	var told []BusError
	s.nodes[0].config.BusError = func(e BusError) { told = append(told, e) }
	x, y := s.connect(0, 1)
	h := wire.Header{Fingerprint: known, Kind: wire.KindRequest, Hops: 16}
	noise = true
	for i := range 5 {
		h.Correlation = uint32(i)
		s.send(x, h, numbered(i, 20))
	}
	s.until("bus-off", func() bool { return s.nodes[0].off })
	noise = false
	for i := range 5 {
		if v := s.receive(y); v.Header.Correlation != uint32(i) || !bytes.Equal(v.Payload, numbered(i, 20)) {
			t.Fatalf("vesicle %d is %+v", i, v.Header)
		}
	}
	stats := s.nodes[0].Stats()
	if stats.BusOff != 1 || stats.Restarts != 1 {
		t.Errorf("bus-off %d times, restarted %d times", stats.BusOff, stats.Restarts)
	}
	var all BusErrors
	var states ControllerState
	for _, e := range told {
		all |= e.Errors
		states |= e.State
	}
	if want := ErrorController | ErrorBusOff | ErrorRestarted; all != want || states&StateTxPassive == 0 || states&StateTxWarning == 0 {
		t.Errorf("told of %v", told)
	}
}

// The kernel may have no room for the error frame that says that the controller is
// back. The node finds out: by a frame that it hears, or by asking, which is all that
// there is where nobody says anything.
func TestRecoveryOfWhichNobodyTells(t *testing.T) {
	for _, v := range []struct {
		name    string
		restart time.Duration // RestartAfter
		beat    time.Duration // of the other node
	}{
		{"the node restarts", 50 * time.Millisecond, 0},
		{"the driver restarts", -1, 0},
		{"the node restarts, on a silent bus", 50 * time.Millisecond, 30 * time.Second},
		{"the driver restarts, on a silent bus", -1, 30 * time.Second},
	} {
		t.Run(v.name, func(t *testing.T) {
			s := newSim(t, ModelConfig{}, Config{Node: 1, Routes: []uint64{known}, RestartAfter: v.restart, Dead: time.Minute},
				Config{Node: 2, Heartbeat: v.beat, Dead: time.Minute})
			x, y := s.connect(0, 1)
			e := BusError{Errors: ErrorBusOff}
			f := e.frame()
			s.nodes[0].take(&f) // and its controller is not
			begun := s.model.Now()
			h := wire.Header{Fingerprint: known, Kind: wire.KindRequest, Hops: 16}
			s.send(x, h, numbered(0, 20))
			if v := s.receive(y); !bytes.Equal(v.Payload, numbered(0, 20)) {
				t.Errorf("% x", v.Payload)
			}
			if took := s.model.Now() - begun; took > time.Second {
				t.Errorf("it took %v", took)
			}
			if stats := s.nodes[0].Stats(); stats.BusOff != 1 || stats.Restarts != 1 || stats.RestartFailed != 0 {
				t.Errorf("%+v", stats)
			}
		})
	}
}

// The processes of both nodes, or of one, are stopped for a while: nobody was silent
// for so long. Who really is has time as always.
func TestTimeInWhichANodeIsStoppedIsNoSilence(t *testing.T) {
	const dead = time.Second
	s := newSim(t, ModelConfig{}, Config{Node: 1, Routes: []uint64{known}, Dead: dead}, Config{Node: 2, Dead: dead})
	x, y := s.connect(0, 1)
	for range 3 {
		s.ahead += time.Hour
		s.idle(dead)
	}
	h := wire.Header{Fingerprint: known, Kind: wire.KindRequest, Hops: 16}
	s.send(x, h, numbered(0, 20))
	if v := s.receive(y); !bytes.Equal(v.Payload, numbered(0, 20)) {
		t.Errorf("% x", v.Payload)
	}
	s.nodes = s.nodes[:1] // the other one is silent
	s.ahead += time.Hour
	s.idle(dead / 2)
	var in [1]wire.Vesicle
	if _, err := x.Poll(in[:]); err != nil {
		t.Errorf("after half of the time: %v", err)
	}
	s.idle(2 * dead)
	if _, err := x.Poll(in[:]); !errors.Is(err, link.ErrPeerGone) {
		t.Errorf("after all of the time: %v", err)
	}
}

func TestTwoNodesWithOneNumber(t *testing.T) {
	s := newSim(t, ModelConfig{}, routed(1), Config{Node: 1}, Config{Node: 2})
	if _, _, err := s.nodes[0].begin(2); err != nil {
		t.Fatal(err)
	}
	s.until("noticed", func() bool { return s.nodes[1].err != nil })
	if err := s.nodes[1].err; !errors.Is(err, ErrDuplicate) {
		t.Error(err)
	}
}

func TestRouteTable(t *testing.T) {
	many := make([]uint64, 40)
	for i := range many {
		many[i] = uint64(100 + i)
	}
	for _, v := range []struct {
		name       string
		low, high  []uint64
		fromLow    map[uint64]uint8 // by what number the lower node sends
		fromHigher map[uint64]uint8
	}{
		{"nobody has any", nil, nil, map[uint64]uint8{1: noRoute}, map[uint64]uint8{1: noRoute}},
		{"the lower node's come first", []uint64{1, 2}, []uint64{3},
			map[uint64]uint8{1: 0, 2: 1, 3: 2, 4: noRoute}, map[uint64]uint8{1: 0, 2: 1, 3: 2, 4: noRoute}},
		{"both have one: the receiver's counts", []uint64{1, 2}, []uint64{2}, map[uint64]uint8{2: 2}, map[uint64]uint8{2: 1}},
		{"more than there are numbers", many, append([]uint64{7}, many...),
			map[uint64]uint8{7: 40, 100: 41, 121: 62, 122: 22}, map[uint64]uint8{7: 40, 100: 0, 139: 39}},
	} {
		for _, lower := range []bool{true, false} {
			r := routes{lower: lower}
			own, peer, want := v.low, v.high, v.fromLow
			if !lower {
				own, peer, want = peer, own, v.fromHigher
			}
			r.own.set(own)
			r.peer.set(peer)
			r.settle()
			for print, number := range want {
				got, ok := r.number(print)
				if got != number || ok != (number != noRoute) {
					t.Errorf("%s, lower %t: fingerprint %d has number %d, want %d", v.name, lower, print, got, number)
				}
				if back, ok := r.fingerprint(got); got != noRoute && (!ok || back != print) {
					t.Errorf("%s, lower %t: number %d stands for %d, want %d", v.name, lower, got, back, print)
				}
			}
		}
	}
}
