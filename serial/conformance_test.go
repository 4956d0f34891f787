package serial_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/serial"
	"github.com/cell-runtime/cell/serial/serialtest"
)

// connected shakes hands over the two ends of a stream.
func connected(t testing.TB, a, b serial.Stream, o *serial.Options) (x, y *serial.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { x, errs[0] = serial.Connect(ctx, a, o) })
	wg.Go(func() { y, errs[1] = serial.Connect(ctx, b, o) })
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return x, y
}

// streams keeps the raw streams below connections, to do to them what can't be
// done through a connection.
type streams struct {
	mu sync.Mutex
	of map[link.Link]serial.Stream
}

func (s *streams) note(l link.Link, stream serial.Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[link.Link]serial.Stream{}
	}
	s.of[l] = stream
}

func (s *streams) get(l link.Link) serial.Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[l]
}

func overPTY(t testing.TB, o *serial.Options, s *streams) (a, b link.Link) {
	t.Helper()
	master, slave, err := serial.OpenPTY()
	if err != nil {
		t.Fatal(err)
	}
	x, y := connected(t, master, slave, o)
	s.note(x, master)
	s.note(y, slave)
	return x, y
}

func overSockets(t testing.TB, o *serial.Options, s *streams) (a, b link.Link) {
	t.Helper()
	p, q, err := serialtest.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	x, y := connected(t, p, q, o)
	s.note(x, p)
	s.note(y, q)
	return x, y
}

// overNoise connects two ends over a line that fails.
func overNoise(t testing.TB, o *serial.Options, f serialtest.Faults) (a, b link.Link) {
	t.Helper()
	p, inner1, err := serialtest.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	q, inner2, err := serialtest.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	l := serialtest.Join(inner1, inner2, f, rand.Uint64())
	t.Cleanup(l.Close)
	x, y := connected(t, p, q, o)
	return x, y
}

func garbage(s *streams) func(t testing.TB, rng *rand.Rand, a, b link.Link) {
	return func(t testing.TB, rng *rand.Rand, _, b link.Link) {
		bytes := make([]byte, 1+rng.IntN(200))
		for i := range bytes {
			bytes[i] = byte(rng.Uint32())
		}
		raw, err := s.get(b).SyscallConn()
		if err != nil {
			t.Error(err)
			return
		}
		if e := raw.Write(func(fd uintptr) bool { _, err = write(int(fd), bytes); return true }); e != nil || err != nil {
			t.Error(e, err)
		}
	}
}

// kill closes a stream below its connection, as the end of a process would.
func kill(s *streams) func(t testing.TB, peer link.Link) {
	return func(t testing.TB, peer link.Link) {
		peer.(*serial.Conn).Vanish()
		if err := hangUp(s.get(peer)); err != nil {
			t.Error(err)
		}
	}
}

func TestConformance(t *testing.T) {
	window := &serial.Options{Window: 32}
	noisy := &serial.Options{MaxPayload: 256, Noisy: true}
	repaired := &serial.Options{MaxPayload: 256, Window: 32, Noisy: true}
	faults := serialtest.Every(1e-4)
	var s streams
	for _, v := range []struct {
		name string
		h    linktest.Harness
	}{
		{"PTY", linktest.Harness{
			Open: func(t testing.TB) (a, b link.Link) { return overPTY(t, nil, &s) },
			Kill: kill(&s), Garbage: garbage(&s), CanPark: true, MaxTotal: 4 << 20,
		}},
		{"socket", linktest.Harness{
			Open: func(t testing.TB) (a, b link.Link) { return overSockets(t, nil, &s) },
			Kill: kill(&s), Garbage: garbage(&s), CanPark: true, MaxTotal: 4 << 20,
		}},
		{"window over a PTY", linktest.Harness{
			// What garbage does to a window is in
			// TestNoiseBetweenFramesCostsNothing: nothing that link.Stats tells.
			Open: func(t testing.TB) (a, b link.Link) { return overPTY(t, window, &s) },
			Kill: kill(&s), CanPark: true, MaxTotal: 2 << 20,
		}},
		{"window over noise", linktest.Harness{
			Open:    func(t testing.TB) (a, b link.Link) { return overNoise(t, repaired, faults) },
			CanPark: true, MaxTotal: 128 << 10, LeaksUntilCleanup: true, Allocates: true,
		}},
		{"noise", linktest.Harness{
			Open:  func(t testing.TB) (a, b link.Link) { return overNoise(t, noisy, faults) },
			Lossy: true, CanPark: true, MaxTotal: 256 << 10, LeaksUntilCleanup: true, Allocates: true,
		}},
	} {
		t.Run(v.name, func(t *testing.T) { linktest.Run(t, v.h) })
	}
}
