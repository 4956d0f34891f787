package adapter

import (
	"context"
	"errors"
	"fmt"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/perf/peers/internal/peer"
	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// cellFingerprint is that of all vesicles here: nobody routes by it.
const cellFingerprint = 0xce11be7c00000001

// cellEnd is one end of a connection. Over rings in spin mode it uses their
// halves directly, as cellbench does and as a user does who counts nanoseconds;
// otherwise the connection's own waiting.
type cellEnd struct {
	conn *uds.Conn
	tx   *ring.Producer // nil: use conn
	rx   *ring.Consumer
	wait uds.WaitMode
	// patience is the most pauses between two looks at an empty ring, reached
	// by doubling: a stream's reader that looks less often leaves the line
	// alone that its writer is filling.
	patience int
}

const (
	// streamPatience is about half a microsecond of pauses.
	streamPatience = 16
	// spinsPerLook is after how many empty polls a spinning side looks whether
	// its peer still lives.
	spinsPerLook = 1 << 14
	// perClock is how many publications pass between two looks at the clock.
	perClock = 64
)

func newCellEnd(c *uds.Conn, wait uds.WaitMode) *cellEnd {
	e := &cellEnd{conn: c, wait: wait, patience: 1}
	if wait == uds.WaitSpin {
		e.tx, e.rx = c.Rings() // nil over a socket
	}
	return e
}

// poll waits for vesicles.
func (e *cellEnd) poll(in []wire.Vesicle) (int, error) {
	if e.rx == nil {
		return e.conn.PollWait(context.Background(), in, e.wait)
	}
	pauses := 1
	for i := 1; ; i++ {
		if n, err := e.rx.Poll(in); n != 0 || err != nil {
			return n, err
		}
		for range pauses {
			sched.Pause()
		}
		pauses = min(2*pauses, e.patience)
		if i%spinsPerLook == 0 {
			// What a peer published before its end is still polled.
			if err := e.conn.CheckPeer(); err != nil && !errors.Is(err, link.ErrPeerGone) {
				return 0, err
			}
		}
	}
}

// claim waits for room.
func (e *cellEnd) claim(out []wire.Vesicle, size int) (int, error) {
	if e.tx == nil {
		return e.conn.ClaimWait(context.Background(), out, size, e.wait)
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

// publish commits and flushes. A socket may take a part now and the rest later.
func (e *cellEnd) publish(vs []wire.Vesicle) error {
	if e.tx != nil {
		if err := e.tx.Commit(vs); err != nil {
			return err
		}
		return e.tx.Flush()
	}
	if err := e.conn.Commit(vs); err != nil {
		return err
	}
	for {
		err := e.conn.Flush()
		if !errors.Is(err, link.ErrFull) {
			return err
		}
		// ClaimWait flushes while it waits for room.
		var probe [1]wire.Vesicle
		if _, err := e.conn.ClaimWait(context.Background(), probe[:], 0, e.wait); err != nil {
			return err
		}
		e.conn.Abort()
	}
}

func (e *cellEnd) release(n int) error {
	if e.rx != nil {
		return e.rx.Release(n)
	}
	return e.conn.Release(n)
}

// put copies a payload into or out of a link. The smallest one measured is
// spelled out: it becomes a few moves instead of a call.
func put(dst, src []byte) {
	if len(dst) == 64 && len(src) == 64 {
		*(*[64]byte)(dst) = *(*[64]byte)(src)
		return
	}
	ring.Copy(dst, src)
}

// echo sends every vesicle back until the caller ends. Everything that can
// wait until the answer is on its way, does.
func (e *cellEnd) echo(size int) error {
	var in, out [1]wire.Vesicle
	out[0].Header = wire.Header{Fingerprint: cellFingerprint, Kind: wire.KindReply, Hops: 1}
	for {
		if _, err := e.claim(out[:], size); err != nil {
			return err
		}
		if _, err := e.poll(in[:]); err != nil {
			return err
		}
		if len(in[0].Payload) != size {
			return fmt.Errorf("a payload of %d bytes came, %d were agreed", len(in[0].Payload), size)
		}
		put(out[0].Payload, in[0].Payload)
		out[0].Header.Correlation = in[0].Header.Correlation
		if err := e.publish(out[:]); err != nil {
			return err
		}
		if err := e.release(1); err != nil {
			return err
		}
	}
}

// echoMany sends back all that is there at a time.
func (e *cellEnd) echoMany() error {
	in, out := make([]wire.Vesicle, peer.Window), make([]wire.Vesicle, peer.Window)
	for i := range out {
		out[i].Header = wire.Header{Fingerprint: cellFingerprint, Kind: wire.KindReply, Hops: 1}
	}
	for {
		n, err := e.poll(in)
		if err != nil {
			return err
		}
		for done := 0; done < n; {
			k, err := e.claim(out[:n-done], len(in[0].Payload))
			if err != nil {
				return err
			}
			for i := range out[:k] {
				put(out[i].Payload, in[done+i].Payload)
				out[i].Header.Correlation = in[done+i].Header.Correlation
			}
			if err := e.publish(out[:k]); err != nil {
				return err
			}
			done += k
		}
		if err := e.release(n); err != nil {
			return err
		}
	}
}

// take counts vesicles up to a control one, which it answers with the tally.
func (e *cellEnd) take() error {
	e.patience = streamPatience
	var t peer.Tally
	in := make([]wire.Vesicle, peer.Window)
	for {
		n, err := e.poll(in)
		if err != nil {
			return err
		}
		vs := in[:n]
		end := vs[n-1].Header.Kind == wire.KindControl
		if end {
			vs = vs[:n-1]
		}
		sum := t.Sum
		for i := range vs {
			sum += peer.Touch(vs[i].Payload)
		}
		t.Sum, t.Count = sum, t.Count+uint64(len(vs))
		if err := e.release(n); err != nil {
			return err
		}
		if end {
			var out [1]wire.Vesicle
			if _, err := e.claim(out[:], peer.TallySize); err != nil {
				return err
			}
			out[0].Header = wire.Header{Kind: wire.KindReply, Hops: 1}
			t.Append(out[0].Payload[:0])
			return e.publish(out[:])
		}
	}
}

// Pipeline implements peer.Client: as many requests as the window has room for,
// then all answers that are there.
func (c *cellClient) Pipeline(request []byte, more peer.More) (done uint64, err error) {
	in, out := make([]wire.Vesicle, peer.Window), make([]wire.Vesicle, peer.Window)
	for i := range out {
		out[i].Header = wire.Header{Fingerprint: cellFingerprint, Kind: wire.KindRequest, Hops: 1}
	}
	id, under, stop := uint32(0), 0, false
	for i := 0; ; i++ {
		for !stop && under < peer.Window {
			n, err := c.claim(out[:min(c.batch, peer.Window-under)], len(request))
			if err != nil {
				return done, err
			}
			for k := range out[:n] {
				put(out[k].Payload, request)
				out[k].Header.Correlation = id
				id++
			}
			if err := c.publish(out[:n]); err != nil {
				return done, err
			}
			under += n
		}
		n, err := c.poll(in)
		if err != nil {
			return done, err
		}
		for k := range in[:n] {
			if in[k].Header.Correlation != uint32(done) {
				return done, fmt.Errorf("answer %d came where %d was next", in[k].Header.Correlation, uint32(done))
			}
			peer.Touch(in[k].Payload)
			done++
		}
		if err := c.release(n); err != nil {
			return done, err
		}
		if under -= n; i%perClock == 0 && !more(done) {
			stop = true
		}
		if stop && under == 0 {
			return done, nil
		}
	}
}

// Stream implements peer.Client.
func (c *cellClient) Stream(message []byte, more peer.More) (peer.Tally, error) {
	// A batch of large ones would be the whole ring, and both sides would wait
	// for each other.
	out := make([]wire.Vesicle, max(1, min(c.batch, largestWrite/len(message))))
	for i := range out {
		out[i].Header = wire.Header{Fingerprint: cellFingerprint, Kind: wire.KindEvent, Hops: 1}
	}
	sent, large := uint64(0), len(message) > 4096
	for i := 0; ; i++ {
		if (i%perClock == 0 || large) && !more(sent) {
			break
		}
		n, err := c.claim(out, len(message))
		if err != nil {
			return peer.Tally{}, err
		}
		for k := range out[:n] {
			put(out[k].Payload, message)
		}
		if err := c.publish(out[:n]); err != nil {
			return peer.Tally{}, err
		}
		sent += uint64(n)
	}
	if _, err := c.claim(out[:1], 0); err != nil {
		return peer.Tally{}, err
	}
	out[0].Header = wire.Header{Kind: wire.KindControl, Flags: wire.FlagEnd}
	if err := c.publish(out[:1]); err != nil {
		return peer.Tally{}, err
	}
	if _, err := c.poll(c.in[:]); err != nil {
		return peer.Tally{}, err
	}
	return peer.ParseTally(c.in[0].Payload)
}
