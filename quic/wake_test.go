package quic

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

func TestWakesByFunction(t *testing.T) {
	a, b := listen(t, 1, nil, 2), listen(t, 2, nil, 1)
	x, y := linked(t, a, b, &LinkOptions{Lanes: 1})
	var woken atomic.Int64
	y.OnWake(func() { woken.Add(1) })
	if fds := y.WaitFDs(nil); len(fds) != 0 {
		t.Errorf("descriptors %v beside the function", fds)
	}
	say := func() {
		var out [1]wire.Vesicle
		_, err := x.Claim(out[:], 10)
		must(t, err)
		out[0].Header = wire.Header{Kind: wire.KindEvent}
		must(t, errors.Join(x.Commit(out[:]), x.Flush()))
	}
	hear := func() {
		var in [1]wire.Vesicle
		eventually(t, "a vesicle", func() bool {
			n, err := y.Poll(in[:])
			must(t, err)
			return n == 1
		})
		must(t, y.Release(1))
	}
	say()
	hear()
	if n := woken.Load(); n != 0 {
		t.Errorf("called %d times unarmed", n)
	}
	if !y.Arm() {
		t.Fatal("nothing is there, and Arm says that there is")
	}
	say()
	eventually(t, "a call", func() bool { return woken.Load() == 1 })
	say()
	hear()
	hear()
	y.Disarm()
	if n := woken.Load(); n != 1 {
		t.Errorf("called %d times for one arming", n)
	}
	y.OnWake(nil)
	if fds := y.WaitFDs(nil); len(fds) != 2 {
		t.Errorf("descriptors %v without a function", fds)
	}
	y.OnWake(func() { woken.Add(1) })
	if !y.Arm() {
		t.Fatal("Arm again")
	}
	must(t, x.Close())
	eventually(t, "a call at the end", func() bool { return woken.Load() >= 2 })
	eventually(t, "the end", func() bool { return errors.Is(y.CheckPeer(), link.ErrPeerGone) })
}
