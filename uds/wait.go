package uds

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/wire"
)

// WaitMode is how a plain caller, one that has no engine, waits on a
// connection.
type WaitMode uint8

// The modes. Adaptive is for whoever has said nothing; the others are asked
// for. Sleeping occupies an operating system's thread: whoever waits on more
// than a few connections wants an engine.
const (
	WaitAdaptive WaitMode = iota // spin about a quarter of a millisecond, then park
	WaitSpin                     // burn the core, with a PAUSE between looks
	WaitYield                    // let other goroutines run between looks
	WaitPark                     // sleep in poll(2) at once
)

func (m WaitMode) String() string {
	switch m {
	case WaitAdaptive:
		return "adaptive"
	case WaitSpin:
		return "spin"
	case WaitYield:
		return "yield"
	case WaitPark:
		return "park"
	}
	return fmt.Sprintf("wait mode %d", uint8(m))
}

const (
	spinsBeforePark = 20000 // over rings
	looksBeforePark = 500   // on the stream path, where each is a system call
	spinsPerContext = 64    // how often a spinning caller looks at its context
	yieldsPerLook   = 16    // a yield may take 10 µs, so the peer's life is looked at more often
	parkSlice       = 10    // ms after which a parked caller looks at its context
)

// PollWait polls until there is something, and returns as Poll does, except
// that it returns 0 with an error only: the link's, or the context's. Neither
// it nor ClaimWait allocates. It belongs to the receiver's goroutine.
func (c *Conn) PollWait(ctx context.Context, in []wire.Vesicle, mode WaitMode) (int, error) {
	if len(in) == 0 {
		return 0, errors.New("uds: PollWait into no vesicles would wait for ever")
	}
	for i := 0; ; i++ {
		if n, err := c.Poll(in); n != 0 || err != nil {
			return n, err
		}
		if err := c.pause(ctx, mode, i, false, 0); err != nil {
			return 0, err
		}
	}
}

// ClaimWait claims until there is room for at least one vesicle and returns as
// Claim does. While it waits it flushes what was committed, or the room might
// never come. It belongs to the sender's goroutine.
func (c *Conn) ClaimWait(ctx context.Context, out []wire.Vesicle, size int, mode WaitMode) (int, error) {
	for i := 0; ; i++ {
		n, err := c.Claim(out, size)
		if !errors.Is(err, link.ErrFull) {
			return n, err
		}
		if err := c.Flush(); err != nil && !errors.Is(err, link.ErrFull) {
			return 0, err
		}
		if err := c.pause(ctx, mode, i, true, size); err != nil {
			return 0, err
		}
	}
}

// pause is one step of waiting, the i-th, for space or for vesicles.
func (c *Conn) pause(ctx context.Context, mode WaitMode, i int, space bool, size int) error {
	spins := spinsBeforePark
	if c.st != nil {
		spins = looksBeforePark
	}
	park := mode == WaitPark || mode == WaitAdaptive && i >= spins
	if park || i%spinsPerContext == 0 {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("uds: waiting for process %d: %w", c.pid, context.Cause(ctx))
		}
	}
	switch {
	case park && space:
		if c.ArmSpace(size) {
			c.claims.wait(c, parkTime(ctx))
			c.DisarmSpace()
		}
	case park:
		if c.Arm() {
			c.polling.wait(c, parkTime(ctx))
			c.Disarm()
		}
	case mode == WaitYield:
		runtime.Gosched()
		if i%yieldsPerLook == 0 && c.st == nil && c.cause.Load() == nil {
			_ = c.look() // the next call reports it
		}
	default:
		sched.Pause()
	}
	return nil
}

// parkTime returns how long to sleep before looking at ctx again. Waking a
// sleeper from the context itself would cost an allocation for each sleep.
func parkTime(ctx context.Context) int {
	if ctx.Done() == nil {
		return -1
	}
	return parkSlice
}
