package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// end is one end of the connection under test. Over rings in spin mode it
// uses the halves directly, as a user does who counts nanoseconds; otherwise
// the connection's own waiting.
type end struct {
	conn *uds.Conn
	tx   *ring.Producer
	rx   *ring.Consumer
	mode uds.WaitMode
	ctx  context.Context
	// patience is the most pauses between two looks at an empty ring, reached
	// by doubling. One finds a vesicle soonest. A stream's reader that looks
	// less often leaves the line alone that its writer is filling, finds more
	// at a time, and gets more in all.
	patience int
	out      []wire.Vesicle // see places
	short    bool
}

// streamPatience is about a microsecond of pauses, a few times what a line takes
// from one core to another and back (docs/RING.md has what others gain and lose).
const streamPatience = 64

func newEnd(c *uds.Conn, wait string) (*end, error) {
	m, err := waitMode(wait)
	if err != nil {
		return nil, err
	}
	e := &end{conn: c, mode: m, ctx: context.Background(), patience: 1}
	if m == uds.WaitSpin {
		e.tx, e.rx = c.Rings() // nil on the stream path
	}
	return e, nil
}

// spinsPerLook is after how many empty polls a spinning side looks whether the
// peer still lives: a few hundred microseconds.
const spinsPerLook = 1 << 14

// poll waits for vesicles.
func (e *end) poll(in []wire.Vesicle) (int, error) {
	if e.rx == nil {
		return e.conn.PollWait(e.ctx, in, e.mode)
	}
	if e.short {
		for range e.patience {
			sched.Pause()
		}
	}
	for i := 1; ; i++ {
		if n, err := e.rx.Poll(in); n != 0 || err != nil {
			e.short = n < len(in) && e.patience > 1
			return n, err
		}
		for range e.patience {
			sched.Pause()
		}
		if i%spinsPerLook == 0 {
			if err := e.conn.CheckPeer(); err != nil && !errors.Is(err, link.ErrPeerGone) {
				return 0, err
			}
		}
	}
}

// claim waits for room.
func (e *end) claim(out []wire.Vesicle, size int) (int, error) {
	if e.tx == nil {
		return e.conn.ClaimWait(e.ctx, out, size, e.mode)
	}
	for i := 1; ; i++ {
		if n, err := e.tx.Claim(out, size); !errors.Is(err, ring.ErrFull) {
			return n, err
		}
		sched.Pause()
		if i%spinsPerLook == 0 {
			if err := e.conn.CheckPeer(); err != nil {
				return 0, err
			}
		}
	}
}

// retry writes the rest of a batch, after Write said that the ring is full.
func (e *end) retry(vs []wire.Vesicle, err error) error {
	for i := 1; ; i++ {
		if err != nil && !errors.Is(err, ring.ErrFull) {
			return err
		}
		sched.Pause()
		if i%spinsPerLook == 0 {
			if err := e.conn.CheckPeer(); err != nil {
				return err
			}
		}
		var n int
		n, err = e.tx.Write(vs)
		if vs = vs[n:]; len(vs) == 0 {
			return nil
		}
	}
}

// write sends copies of vesicles whose payloads are up to size bytes long.
func (e *end) write(vs []wire.Vesicle, size int) error {
	for len(vs) > 0 {
		n, err := e.claim(e.places(len(vs)), size)
		if err != nil {
			return err
		}
		for k := range n {
			ring.Copy(e.out[k].Payload, vs[k].Payload)
			e.out[k].Header = vs[k].Header
		}
		if err := e.publish(e.out[:n]); err != nil {
			return err
		}
		vs = vs[n:]
	}
	return nil
}

// places returns n vesicles to claim into.
func (e *end) places(n int) []wire.Vesicle {
	if n > len(e.out) {
		e.out = make([]wire.Vesicle, n)
	}
	return e.out[:n]
}

// publish commits and flushes. A stream socket may take a part now and the
// rest later.
func (e *end) publish(vs []wire.Vesicle) error {
	if e.tx != nil {
		if err := e.tx.Commit(vs); err != nil {
			return err
		}
		return e.tx.Flush()
	}
	if err := e.conn.Commit(vs); err != nil {
		return err
	}
	return e.flush()
}

// flush brings everything committed out.
func (e *end) flush() error {
	for i := 0; ; i++ {
		err := e.conn.Flush()
		if !errors.Is(err, link.ErrFull) {
			return err
		}
		if e.mode == uds.WaitPark || i > spinsPerLook && e.mode == uds.WaitAdaptive {
			// ClaimWait flushes while it sleeps for room.
			var probe [1]wire.Vesicle
			if _, err := e.conn.ClaimWait(e.ctx, probe[:], 0, e.mode); err != nil {
				return err
			}
			e.conn.Abort()
		} else {
			sched.Pause()
		}
	}
}

func (e *end) release(n int) error {
	if e.rx != nil {
		return e.rx.Release(n)
	}
	return e.conn.Release(n)
}

// finish tells the peer that this was the last vesicle.
func (e *end) finish() error {
	var v [1]wire.Vesicle
	if _, err := e.claim(v[:], 0); err != nil {
		return err
	}
	v[0].Header = wire.Header{Kind: wire.KindControl, Flags: wire.FlagEnd}
	return e.publish(v[:])
}

// place copies a payload into or out of a link. The size of a cache line's
// payload is spelled out: it becomes a few moves instead of a call.
func place(dst, src []byte) {
	if len(dst) == 40 && len(src) == 40 {
		*(*[40]byte)(dst) = *(*[40]byte)(src)
		return
	}
	copy(dst, src)
}

// touch reads one word of every cache line, which is the least that a reader
// must do to have received it.
func touch(b []byte) (sum uint64) {
	if len(b) >= 8 { // apart from the loop, so that it inlines
		sum = binary.LittleEndian.Uint64(b)
	}
	if len(b) > 64 {
		sum += touchRest(b[64:])
	}
	return sum
}

// touchRest goes by index: a slice that is cut shorter each time is a chain of
// dependent instructions longer than a line takes to arrive. And it is a
// function of its own: inlined into a reader's loop, as a profile suggests, it
// lacks registers there, and keeps the sum in memory line by line.
//
//go:noinline
func touchRest(b []byte) (sum uint64) {
	for i := 0; i <= len(b)-8; i += 64 {
		sum += binary.LittleEndian.Uint64(b[i : i+8 : i+8])
	}
	return sum
}

// echo sends every vesicle back until the caller ends.
func (e *end) echo(payload int) error {
	if e.rx != nil {
		return e.echoDirect(payload)
	}
	var in, out [1]wire.Vesicle
	if _, err := e.claim(out[:], payload); err != nil {
		return err
	}
	room := out[0].Payload
	for {
		if _, err := e.poll(in[:]); err != nil {
			return err
		}
		h := &in[0].Header
		if h.Kind == wire.KindControl {
			return e.release(1)
		}
		if len(in[0].Payload) > len(room) {
			return fmt.Errorf("a payload of %d bytes came, %d were agreed", len(in[0].Payload), len(room))
		}
		out[0].Payload = room[:len(in[0].Payload)]
		place(out[0].Payload, in[0].Payload)
		out[0].Header.Fingerprint = h.Fingerprint
		out[0].Header.Correlation = h.Correlation
		out[0].Header.Kind = wire.KindReply
		if err := e.publish(out[:]); err != nil {
			return err
		}
		// Everything that can wait until the answer is on its way, does.
		if err := e.release(1); err != nil {
			return err
		}
		if _, err := e.claim(out[:], payload); err != nil {
			return err
		}
		room = out[0].Payload
	}
}
