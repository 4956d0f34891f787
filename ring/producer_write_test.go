package ring

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

// ready makes n vesicles of size bytes that x has not sent yet.
func (x *pair) ready(n, size int) []wire.Vesicle {
	vs := make([]wire.Vesicle, n)
	for i := range vs {
		vs[i] = wire.Vesicle{Header: header(x.sent), Payload: make([]byte, size)}
		content(vs[i].Payload, x.sent)
		x.sent++
	}
	return vs
}

// write writes n records of size bytes, all of them.
func (x *pair) write(n, size int) {
	x.t.Helper()
	if got, err := x.p.Write(x.ready(n, size)); got != n || err != nil {
		x.t.Fatalf("Write of %d × %d bytes = %d, %v", n, size, got, err)
	}
}

func TestWriteAtEveryOffset(t *testing.T) {
	for _, size := range []int{0, 1, 39, 40, 41, 104, 105, 1000, maxPayload(MinSize)} {
		for _, batch := range []int{1, 2, 3} {
			if 2*batch*int(spanOf(size)) > MinSize && batch > 1 {
				continue
			}
			t.Run(fmt.Sprintf("%d × %d bytes", batch, size), func(t *testing.T) {
				x := newPair(t, MinSize)
				for range 3 * MinSize / line {
					x.write(batch, size)
					x.receive(repeat(size, batch)...)
					x.send(1, 0) // one line on, by the other way
					x.receive(0)
				}
				x.empty()
			})
		}
	}
}

func TestWriteSaysHowMuchFitted(t *testing.T) {
	x := newPair(t, MinSize)
	const all = MinSize/line - 1 // one line stays free for the end mark
	n, err := x.p.Write(x.ready(all+10, onePayload))
	if n != all || err != nil {
		t.Fatalf("Write = %d, %v, want %d", n, err, all)
	}
	x.sent = all
	n, err = x.p.Write(x.ready(1, onePayload))
	wants(t, "Write into a full ring", err, ErrFull)
	if n != 0 {
		t.Fatalf("a full ring took %d", n)
	}
	x.sent = all
	x.receive(repeat(onePayload, all)...)
	x.write(1, onePayload)
	x.receive(onePayload)
	if s := x.p.Stats(); s.Records != all+1 || s.Bytes != (all+1)*onePayload || s.Flushes != 2 || s.Full != 1 {
		t.Errorf("counted %+v", s)
	}
}

func TestWriteRefuses(t *testing.T) {
	t.Run("what can never fit, behind what can", func(t *testing.T) {
		x := newPair(t, MinSize)
		vs := append(x.ready(2, 100), wire.Vesicle{Header: header(9), Payload: make([]byte, x.p.MaxPayload()+1)})
		n, err := x.p.Write(vs)
		wants(t, "Write", err, ErrTooLarge)
		if n != 2 {
			t.Fatalf("wrote %d, want 2", n)
		}
		x.receive(100, 100)
	})
	t.Run("while places are claimed", func(t *testing.T) {
		x := newPair(t, MinSize)
		vs := x.claim(1, 40)
		_, err := x.p.Write(x.ready(1, onePayload))
		wants(t, "Write", err, ErrOrder)
		x.sent--
		x.commit(vs)
		x.flush()
		x.receive(40)
	})
	t.Run("a ring that was stopped", func(t *testing.T) {
		x := newPair(t, MinSize)
		x.write(1, onePayload)
		x.write(1, onePayload)
		x.p.Stop(true)
		_, err := x.p.Write(x.ready(1, onePayload))
		wants(t, "Write of one", err, ErrPeerGone)
		_, err = x.p.Write(x.ready(2, onePayload))
		wants(t, "Write of two", err, ErrPeerGone)
	})
	t.Run("a cursor that lies", func(t *testing.T) {
		x := newPair(t, MinSize)
		x.write(5, onePayload)
		*x.near.control.u64(offReaderCursor) = 1 << 40
		n, err := x.p.Write(x.ready(MinSize/line, onePayload))
		wants(t, "Write", err, ErrCorrupt)
		t.Log("wrote", n, "before it looked")
	})
}

func TestWritePublishesWhatWasCommitted(t *testing.T) {
	x := newPair(t, MinSize)
	x.commit(x.claim(2, 10))
	x.write(1, onePayload)
	x.receive(10, 10, onePayload)
	x.write(1, onePayload)
	x.p.Abort() // nothing is claimed: nothing may change
	x.write(1, onePayload)
	x.receive(onePayload, onePayload)
}

func TestWriteOfNothing(t *testing.T) {
	x := newPair(t, MinSize)
	if n, err := x.p.Write(nil); n != 0 || err != nil {
		t.Fatalf("Write of nothing = %d, %v", n, err)
	}
	x.empty()
}

// Whoever writes a part of a buffer does not show the rest of it.
func TestWriteShowsNothingBehindAPayload(t *testing.T) {
	for _, batch := range []int{1, 3} {
		x := newPair(t, MinSize)
		secret := bytes.Repeat([]byte{0xa5}, 4096)
		vs := make([]wire.Vesicle, batch)
		for i := range vs {
			vs[i] = wire.Vesicle{Header: header(uint32(i)), Payload: secret[:8]}
		}
		if n, err := x.p.Write(vs); n != batch || err != nil {
			t.Fatal(n, err)
		}
		in := make([]wire.Vesicle, batch)
		if n, err := x.c.Poll(in); n != batch || err != nil {
			t.Fatal(n, err)
		}
		for off := uint64(0); off < uint64(batch)*line; off += line {
			if r := x.near.data.line(off); bytes.Count(r.payload[:], []byte{0xa5}) != 8 {
				t.Errorf("the line at %d holds %x", off, r.payload)
			}
		}
	}
}
