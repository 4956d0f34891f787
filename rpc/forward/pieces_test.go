package forward_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/wire"
)

// whole sends a vesicle of any length through a Fragmenter, and returns at
// once; the error comes later.
func whole(l link.Link, f *link.Fragmenter, h wire.Header, payload []byte) <-chan error {
	h.Hops = 16
	sent := make(chan error, 1)
	go func() {
		for end := time.Now().Add(patience); ; runtime.Gosched() {
			err := f.Send(h, payload)
			if err == nil {
				sent <- l.Flush()
				return
			}
			if !errors.Is(err, link.ErrFull) || time.Now().After(end) {
				sent <- err
				return
			}
		}
	}()
	return sent
}

// assemble receives pieces of l until one vesicle is whole.
func (r *rig) assemble(l link.Link, a *link.Reassembler) (h wire.Header, payload []byte) {
	r.Helper()
	for {
		h, text := r.receive(l)
		v := wire.Vesicle{Header: h, Payload: []byte(text)}
		if h.Flags&wire.FlagFragment == 0 {
			return h, v.Payload
		}
		done, err := a.Add(&v, time.Now().UnixNano())
		if err != nil {
			r.Fatal(err)
		}
		if done {
			return v.Header, v.Payload
		}
	}
}

func parts(t testing.TB, l link.Link) (*link.Fragmenter, *link.Reassembler) {
	t.Helper()
	f, err := link.NewFragmenter(l, l.Info().MaxPayload)
	if err != nil {
		t.Fatal(err)
	}
	a, err := link.NewReassembler(link.ReassemblyLimits{})
	if err != nil {
		t.Fatal(err)
	}
	return f, a
}

// Vesicles of many pieces pass between links of all widths, also where the next
// one is full every few pieces, and from two callers at once.
func TestPieces(t *testing.T) {
	for _, c := range []struct {
		name           string
		caller, target linktest.PipeConfig
	}{
		{"links alike", linktest.PipeConfig{MaxPayload: 100}, linktest.PipeConfig{MaxPayload: 100}},
		{"whole into pieces", linktest.PipeConfig{MaxPayload: 4096}, linktest.PipeConfig{MaxPayload: 64, Slots: 4}},
		{"pieces into smaller ones", linktest.PipeConfig{MaxPayload: 300}, linktest.PipeConfig{MaxPayload: 50, Slots: 3}},
		{"pieces into wider links", linktest.PipeConfig{MaxPayload: 50, Slots: 3}, linktest.PipeConfig{MaxPayload: 300}},
		{"out of order", linktest.PipeConfig{MaxPayload: 100, Swap: func(i uint64) bool { return i%2 == 0 }}, linktest.PipeConfig{MaxPayload: 64, Swap: func(i uint64) bool { return i%3 == 0 }}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, 0, nil, c.target)
			split, join := parts(t, r.device)
			type side struct {
				split *link.Fragmenter
				join  *link.Reassembler
			}
			var sides []side
			for range 2 {
				s, j := parts(t, r.addCaller(c.caller))
				sides = append(sides, side{s, j})
			}
			random := rand.New(rand.NewPCG(1, 2))
			for round := range uint32(10) {
				questions := map[string]uint32{}
				var sent []<-chan error
				for i, k := range r.callers {
					h := request(round)
					h.Flags = wire.FlagDeadline
					payload := make([]byte, 8+random.IntN(4000))
					for j := range payload[8:] {
						payload[8+j] = byte(random.Uint32())
					}
					wire.PutDeadline((*[8]byte)(payload), uint64(time.Hour))
					questions[string(payload[8:])] = uint32(i)
					sent = append(sent, whole(k, sides[i].split, h, payload))
				}
				for range r.callers {
					h, payload := r.assemble(r.device, join)
					i, known := questions[string(payload[8:])]
					if left := budgetOf(t, string(payload)); !known || left > time.Hour || left < time.Hour/2 || h.Flags != wire.FlagDeadline {
						t.Fatalf("round %d: %+v: %d bytes, not what was sent", round, h, len(payload))
					}
					back := bytes.Repeat([]byte{byte(i)}, random.IntN(4000))
					replied := whole(r.device, split, answer(h, wire.KindReply), back)
					h, reply := r.assemble(r.callers[i], sides[i].join)
					r.must(<-replied)
					if !bytes.Equal(reply, back) || h.Correlation != round || h.Kind != wire.KindReply {
						t.Fatalf("round %d: %+v: %d bytes of %d", round, h, len(reply), len(back))
					}
				}
				for _, s := range sent {
					r.must(<-s)
				}
			}
			if s := r.stats(); s.Calls != 0 || s.Late != 0 || s.Broken != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// One-way vesicles have no correlation to tell their pieces apart by.
func TestPiecesWithoutACall(t *testing.T) {
	r := newRig(t, 2, nil, linktest.PipeConfig{MaxPayload: 100})
	var pieces [2][2]string
	for i := range pieces {
		for j := range pieces[i] {
			var b [wire.FragmentSize]byte
			wire.PutFragment(&b, wire.Fragment{Total: 2, Offset: uint32(j), Sequence: 5})
			pieces[i][j] = string(b[:]) + string(rune('a'+i))
		}
	}
	_, join := parts(t, r.device)
	for j := range 2 {
		for i, k := range r.callers {
			h := request(0)
			h.Kind, h.Flags = wire.KindEvent, wire.FlagFragment
			if j == 0 {
				h.Flags |= wire.FlagMore
			}
			r.send(k, h, pieces[i][j])
		}
	}
	got := map[string]int{}
	for range 2 {
		_, payload := r.assemble(r.device, join)
		got[string(payload)]++
	}
	if got["aa"] != 1 || got["bb"] != 1 {
		t.Errorf("%v: pieces of two callers were mixed", got)
	}
}

// A refusal ends the call of a request in pieces; what follows goes nowhere.
func TestPiecesBehindTheEnd(t *testing.T) {
	r := newRig(t, 1, nil, linktest.PipeConfig{})
	k := r.callers[0]
	piece := func(offset uint32, more bool) {
		var b [wire.FragmentSize]byte
		wire.PutFragment(&b, wire.Fragment{Total: 30, Offset: offset, Sequence: 9})
		h := request(4)
		h.Flags = wire.FlagFragment
		if more {
			h.Flags |= wire.FlagMore
		}
		r.send(k, h, string(b[:])+"0123456789")
	}
	piece(0, true)
	h, _ := r.receive(r.device)
	r.send(r.device, answer(h, wire.KindError), "\x21\x00\x00\x00\x00\x00\x00\x00")
	if s := r.status(k, 4); s != wire.StatusTooLarge {
		t.Error(s)
	}
	piece(10, true)
	piece(20, false)
	r.silent(r.device)
	if s := r.stats(); s.Late != 2 || s.Calls != 0 {
		t.Errorf("%+v", s)
	}
}
