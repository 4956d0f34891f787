package engine_test

import (
	"sync/atomic"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// fast is one end of a lock-free pipe within the process, so that a spinning
// engine and its peer don't meet at a mutex. It can't be slept on.
type fast struct {
	quiet
	out, in *lane
	claimed uint64
	commits uint64
	polled  uint64
}

const laneSlots, lanePayload = 64, 64

type lane struct {
	slots     [laneSlots]wire.Vesicle
	_         [64]byte
	published atomic.Uint64
	_         [56]byte
	released  atomic.Uint64
	_         [56]byte
}

func newFast() (a, b *fast) {
	x, y := &lane{}, &lane{}
	for i := range x.slots {
		x.slots[i].Payload, y.slots[i].Payload = make([]byte, lanePayload), make([]byte, lanePayload)
	}
	return &fast{out: x, in: y}, &fast{out: y, in: x}
}

func (f *fast) Info() link.Info { return link.Info{Kind: "fast", MaxPayload: lanePayload} }

func (f *fast) Claim(out []wire.Vesicle, size int) (int, error) {
	n := min(len(out), laneSlots-int(f.claimed-f.out.released.Load()))
	if n == 0 {
		return 0, link.ErrFull
	}
	for i := range n {
		out[i].Payload = f.out.slots[f.claimed%laneSlots].Payload[:size]
		f.claimed++
	}
	return n, nil
}

func (f *fast) Commit(vs []wire.Vesicle) error {
	for i := range vs {
		f.out.slots[f.commits%laneSlots] = vs[i]
		f.commits++
	}
	return nil
}

func (f *fast) Flush() error {
	f.out.published.Store(f.commits)
	return nil
}

func (f *fast) Poll(in []wire.Vesicle) (int, error) {
	n := min(len(in), int(f.in.published.Load()-f.polled))
	for i := range n {
		in[i] = f.in.slots[f.polled%laneSlots]
		f.polled++
	}
	return n, nil
}

func (f *fast) Release(n int) error {
	f.in.released.Add(uint64(n))
	return nil
}

func (f *fast) Arm() bool { return false }
