package wan

import (
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The queue holds so many packets, however long they are: short ones aren't
// dropped behind a few long ones.
func TestTheQueueIsCountedInPackets(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLane(Path{Mbit: 8, Queue: 5}, -1, -1) // a byte a microsecond
	for i, c := range []struct {
		size   int
		after  time.Duration
		leaves time.Duration // since the beginning; 0 if it is dropped
	}{
		{1500, 0, 1500 * time.Microsecond},
		{1500, 0, 3000 * time.Microsecond},
		{1500, 0, 4500 * time.Microsecond},
		{1500, 0, 6000 * time.Microsecond},
		{40, 0, 6040 * time.Microsecond}, // the fifth
		{40, 0, 0},
		{40, 1499 * time.Microsecond, 0},
		{40, 1500 * time.Microsecond, 6080 * time.Microsecond}, // the first has left
		{1500, 1500 * time.Microsecond, 0},
		{1500, 10 * time.Millisecond, 11500 * time.Microsecond},
	} {
		leaves, ok := l.enqueue(c.size, now.Add(c.after))
		if ok != (c.leaves > 0) || ok && leaves.Sub(now) != c.leaves {
			t.Errorf("packet %d: %v after the beginning, %t", i, leaves.Sub(now), ok)
		}
	}
}

// Close waits for those who use the descriptors, while packets come.
func TestCloseWaits(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	for range 5 {
		h, err := New(Path{Delay: time.Millisecond, Mbit: 100, Queue: 100})
		if err != nil {
			t.Skip(err)
		}
		stop, stopped := make(chan struct{}), make(chan error, 1)
		go func() {
			runtime.LockOSThread()
			stopped <- h.within(0, func() error {
				c, err := net.Dial("udp", AddrB+":9")
				if err != nil {
					return err
				}
				defer c.Close()
				for {
					select {
					case <-stop:
						return nil
					default:
						_, _ = c.Write(make([]byte, 1000))
					}
				}
			})
		}()
		for h.Counts().Carried < 50 && len(stopped) == 0 {
			time.Sleep(time.Millisecond)
		}
		h.Close()
		for i, l := range h.lanes {
			if _, open := <-l.held; open {
				t.Errorf("lane %d still gives", i)
			}
			if _, err := unix.FcntlInt(uintptr(h.tuns[i]), unix.F_GETFD, 0); err == nil {
				t.Errorf("descriptor %d is open", h.tuns[i])
			}
		}
		close(stop)
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
	}
}
