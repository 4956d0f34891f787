package ring

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/wire"
)

// stamp is what a stress payload begins with: its number and a checksum of
// all that follows.
const stamp = 12

func sign(b []byte, n uint64) {
	binary.LittleEndian.PutUint64(b, n)
	for i := stamp; i < len(b); i++ {
		b[i] = byte(n) + byte(i)
	}
	binary.LittleEndian.PutUint32(b[8:], crc32.ChecksumIEEE(b[stamp:])+uint32(n))
}

func genuine(b []byte, n uint64) bool {
	return len(b) >= stamp && number(b) == n &&
		binary.LittleEndian.Uint32(b[8:]) == crc32.ChecksumIEEE(b[stamp:])+uint32(n)
}

// idle waits in one of the three manners; ready is asked again after sleep.
type idle struct {
	park  bool
	polls int
}

func (w *idle) pass(arm func() bool, disarm func(), d *Doorbell) {
	if w.polls++; w.polls < 50 {
		return
	}
	w.polls = 0
	if !w.park || !arm() {
		runtime.Gosched()
		return
	}
	fds := [1]unix.PollFd{{Fd: int32(d.FD()), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds[:], int(standstill.Milliseconds())); n == 0 && err == nil {
		panic(fmt.Sprintf("asleep for %v: a wake-up was lost", standstill))
	}
	disarm()
}

// pour sends total payloads of random lengths in random batches.
func pour(x *pair, total uint64, most int, w idle) error {
	r := rand.New(rand.NewPCG(total, 2))
	vs := make([]wire.Vesicle, 32)
	for n := uint64(0); n < total; {
		size := stamp + r.IntN(most-stamp)
		want := min(1+r.IntN(len(vs)), int(total-n))
		got, err := x.p.Claim(vs[:want], size)
		if err == ErrFull {
			if err = x.p.Flush(); err == nil {
				w.pass(func() bool { return x.p.ArmSpace(size) }, x.p.DisarmSpace, x.space)
				continue
			}
		}
		if err != nil {
			return err
		}
		for i := range got {
			vs[i].Header = wire.Header{Kind: wire.KindEvent, Correlation: uint32(n)}
			vs[i].Payload = vs[i].Payload[:size-r.IntN(size-stamp+1)]
			sign(vs[i].Payload, n)
			n++
		}
		if r.IntN(8) == 0 { // leave something claimed over a flush
			if err := x.p.Commit(vs[:got/2]); err != nil {
				return err
			}
			if err := x.p.Flush(); err != nil {
				return err
			}
			err = x.p.Commit(vs[got/2 : got])
		} else {
			err = x.p.Commit(vs[:got])
		}
		if err != nil {
			return err
		}
		if r.IntN(3) > 0 {
			if err := x.p.Flush(); err != nil {
				return err
			}
		}
	}
	return x.p.Flush()
}

// drain receives total payloads and checks each at its release; false if one
// was wrong.
func drain(t *testing.T, x *pair, total uint64, w idle) (ok bool) {
	r := rand.New(rand.NewPCG(total, 3))
	in := make([]wire.Vesicle, 64)
	var out []wire.Vesicle
	for n := uint64(0); n < total; {
		got, err := x.c.Poll(in[:1+r.IntN(len(in))])
		if err != nil {
			t.Errorf("Poll after %d: %v", n, err)
			return false
		}
		out = append(out, in[:got]...)
		if got == 0 && len(out) == 0 {
			w.pass(x.c.Arm, x.c.Disarm, x.data)
			continue
		}
		back := len(out)
		if got > 0 {
			back = r.IntN(len(out) + 1)
		}
		for _, v := range out[:back] {
			if !genuine(v.Payload, n) || v.Header.Correlation != uint32(n) {
				t.Errorf("payload %d of %d bytes is not what was sent", n, len(v.Payload))
				return false
			}
			n++
		}
		if err := x.c.Release(back); err != nil {
			t.Error(err)
			return false
		}
		out = append(out[:0], out[back:]...)
	}
	return true
}

func TestStress(t *testing.T) {
	total := uint64(400_000)
	if brief() {
		total = 20_000
	}
	if quarantineCosts {
		total /= 20
	}
	for _, v := range []struct {
		name string
		size int
		most int
		park bool
	}{
		{"small ring, small payloads, spin", MinSize, 200, false},
		{"small ring, small payloads, park", MinSize, 200, true},
		{"large ring, payloads up to the maximum, spin", 64 << 10, maxPayload(64 << 10), false},
		{"large ring, middle payloads, park", 64 << 10, 2000, true},
	} {
		t.Run(v.name, func(t *testing.T) {
			x := newPair(t, v.size)
			n := total
			if v.most > 20_000 {
				n /= 20
			}
			pourAndDrain(t, x, n, v.most, v.park && keepsOrder())
		})
	}
}

// pourAndDrain pours and drains in two goroutines.
func pourAndDrain(t *testing.T, x *pair, total uint64, most int, park bool) {
	t.Helper()
	var both sync.WaitGroup
	both.Go(func() {
		if err := pour(x, total, most, idle{park: park}); err != nil {
			t.Errorf("sending: %v", err)
			x.c.Stop(true)
		}
	})
	both.Go(func() {
		if !drain(t, x, total, idle{park: park}) {
			x.p.Stop(true)
		}
	})
	done := make(chan struct{})
	go func() { both.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(2 * standstill):
		x.c.Stop(false)
		x.p.Stop(false)
		<-done
		t.Errorf("no end after %v", 2*standstill)
	}
}
