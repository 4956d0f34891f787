package firmware_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/firmware/demo/device"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/serial"
	"github.com/cell-runtime/cell/serial/serialtest"
	"github.com/cell-runtime/cell/wire"
)

func client(t testing.TB, c *serial.Conn) *device.DeviceClient {
	t.Helper()
	conn, err := rpc.NewConn(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return device.NewDeviceClient(conn)
}

// turned is what the device must answer to Turn.
func turned(b device.Block) (r device.Block) {
	for i, x := range b.Bytes {
		r.Bytes[len(b.Bytes)-1-i] = ^x
	}
	return r
}

func question(i int) (b device.Block) {
	for j := range b.Bytes {
		b.Bytes[j] = byte(uint32(i*32+j) * 2654435761 >> 24 & uint32(i>>j%8|0x55))
	}
	return b
}

func TestTypedCalls(t *testing.T) {
	uart := boot(t)
	d := client(t, connect(t, uart, nil))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	t.Run("unary", func(t *testing.T) {
		first, err := d.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		second, err := d.Read(ctx)
		if err != nil || second.Sequence != first.Sequence+1 || second.Temperature < 20000 || second.Temperature > 24000 {
			t.Fatalf("%+v, then %+v, %v", first, second, err)
		}
		before, err := d.SetLed(ctx, device.Led{On: true})
		if err != nil || before.On {
			t.Fatalf("%+v, %v", before, err)
		}
		before, err = d.SetLed(ctx, device.Led{})
		if err != nil || !before.On {
			t.Fatalf("%+v, %v", before, err)
		}
		if got, err := d.Turn(ctx, question(7)); err != nil || got != turned(question(7)) {
			t.Fatalf("%v, %v", got, err)
		}
	})
	t.Run("stream", func(t *testing.T) {
		for _, v := range []device.Sampling{{Count: 0}, {Count: 1}, {Count: 2000}, {Count: 5, Every: 3}} {
			s, err := d.Sample(ctx, v)
			if err != nil {
				t.Fatal(err)
			}
			n := uint32(0)
			last := device.Reading{}
			for {
				r, err := s.Receive()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil || n > 0 && r.Sequence != last.Sequence+1 {
					t.Fatalf("item %d: %+v after %+v, %v", n, r, last, err)
				}
				last = r
				n++
			}
			end, err := s.Reply()
			if err != nil || end.Sent != v.Count || n != v.Count {
				t.Fatalf("%+v: %d items, %+v, %v", v, n, end, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("a stream that is given up", func(t *testing.T) {
		s, err := d.Sample(ctx, device.Sampling{Count: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Receive(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		// Its place is free again once the cancellation has arrived.
		for {
			s, err = d.Sample(ctx, device.Sampling{Count: 3})
			if err != nil {
				t.Fatal(err)
			}
			reply, err := s.Reply()
			_ = s.Close()
			if err == nil && reply.Sent == 3 {
				break
			}
			if !errors.Is(err, wire.StatusResourceExhausted) {
				t.Fatalf("%+v, %v", reply, err)
			}
		}
	})
	t.Run("topic", func(t *testing.T) {
		events, err := d.LedChanged(ctx, rpc.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer events.Close()
		for i := range 20 {
			on := i%2 == 0
			if _, err := d.SetLed(ctx, device.Led{On: on}); err != nil {
				t.Fatal(err)
			}
			if e, err := events.Receive(); err != nil || e.On != on {
				t.Fatalf("event %d: %+v, %v", i, e, err)
			}
		}
	})
	t.Run("errors", func(t *testing.T) {
		if _, err := d.Turn(ctx, device.Block{}); err != nil {
			t.Fatal(err)
		}
	})
}

// many makes n calls, some at a time, and returns how many failed. A wrong reply
// ends the test.
func many(t *testing.T, d *device.DeviceClient, n int, timeout time.Duration) (failed int64) {
	t.Helper()
	const callers = 8
	var next, failures atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				got, err := d.Turn(ctx, question(i))
				cancel()
				if err == nil && got != turned(question(i)) {
					t.Errorf("call %d: a wrong reply: %x", i, got.Bytes)
					return
				}
				if err != nil {
					failures.Add(1)
					if !errors.Is(err, wire.StatusDeadlineExceeded) {
						t.Errorf("call %d: %v", i, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	return failures.Load()
}

// count returns how many calls a test makes: few where nothing else is said,
// and what CELL_BOARD_CALLS says, which the full run sets.
func count(t testing.TB, few int) int {
	t.Helper()
	text := os.Getenv("CELL_BOARD_CALLS")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("CELL_BOARD_CALLS is %q; it must be a number of calls", text)
	}
	return n
}

func TestManyCallsWithoutLoss(t *testing.T) {
	uart := boot(t)
	c := connect(t, uart, nil)
	d := client(t, c)
	n := count(t, 4000)
	began := time.Now()
	if failed := many(t, d, n, time.Minute); failed != 0 {
		t.Errorf("%d of %d calls failed", failed, n)
	}
	t.Logf("%d calls in %v", n, time.Since(began).Round(time.Millisecond))
	s := c.LineStats()
	if s.Dropped() != 0 {
		t.Errorf("the line dropped something: %+v", s)
	}
}

func TestCallsOverANoisyLine(t *testing.T) {
	uart := boot(t)
	near, far, err := serialtest.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	line := serialtest.Join(far, uart, serialtest.Every(1e-3), 42)
	t.Cleanup(line.Close)
	c := connect(t, near, &serial.Options{Noisy: true})
	d := client(t, c)
	n := min(count(t, 600), 10_000)
	// A fault costs at most one call. On a slow host calls are late without any:
	// then who waits longer shows it.
	for patience := 100 * time.Millisecond; ; patience *= 2 {
		before := line.Faults()
		failed := many(t, d, n, patience)
		faults := line.Faults() - before
		t.Logf("%d faults, %d of %d calls not answered within %v, %+v", faults, failed, n, patience, c.LineStats())
		if faults < uint64(n/10) || failed == 0 {
			t.Errorf("%d faults and %d failures: is the line noisy at all?", faults, failed)
		}
		if failed <= int64(faults) {
			break
		}
		if patience > 5*time.Second {
			t.Errorf("%d calls failed for %d faults", failed, faults)
			break
		}
	}
	line.Quiet()
	time.Sleep(20 * time.Millisecond)
	many(t, d, 10, time.Second) // a frame may be under way that is already hit
	if failed := many(t, d, 500, time.Minute); failed != 0 {
		t.Errorf("%d of 500 calls failed after the noise had ended", failed)
	}
}

// The device restarts in the midst of calls: those in flight end with a status,
// and later ones reach it again by themselves.
func TestDeviceRestarts(t *testing.T) {
	b, path := bootTTY(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	conn, err := rpc.Connect(ctx, func(ctx context.Context) (link.Link, error) {
		return serial.Dial(ctx, path, serial.Mode{}, nil)
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d := device.NewDeviceClient(conn)
	for round := range 3 {
		if _, err := d.SetLed(ctx, device.Led{On: true}); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		s, err := d.Sample(ctx, device.Sampling{Count: 1 << 30, Every: 1})
		if err != nil {
			t.Fatal(err)
		}
		b.Reset()
		for err == nil {
			_, err = s.Receive()
		}
		if !errors.Is(err, wire.StatusPeerGone) {
			t.Errorf("round %d: the stream ended with %v, want peer gone", round, err)
		}
		_ = s.Close()
		// Read is idempotent and sent again; the LED is off after a reset.
		if _, err := d.Read(ctx); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if before, err := d.SetLed(ctx, device.Led{}); err != nil || before.On {
			t.Fatalf("round %d: the LED was on after a reset, or %v", round, err)
		}
	}
}
