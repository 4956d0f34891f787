package gatewayserial_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/examples/internal/readme"
	"github.com/cell-runtime/cell/examples/math"
	"github.com/cell-runtime/cell/firmware/demo/device"
	"github.com/cell-runtime/cell/firmware/firmwaretest"
	"github.com/cell-runtime/cell/internal/leash"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

func TestReadme(t *testing.T) {
	firmwaretest.Need(t, "make", "arm-none-eabi-gcc", "qemu-system-arm")
	readme.Run(t, "README.md", "../..")
}

// patience bounds everything that a test waits for on a busy machine.
const patience = 30 * time.Second

// bench is a gateway process with a board that comes and goes.
type bench struct {
	*testing.T
	elf, tty string
	board    *firmwaretest.Board
	device   *device.DeviceClient
	math     *math.MathClient
	conn     *rpc.Conn
}

func newBench(t *testing.T) *bench {
	firmwaretest.Need(t, "make", "arm-none-eabi-gcc", "qemu-system-arm")
	dir, err := os.MkdirTemp("", "gw") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &bench{T: t, elf: firmwaretest.Build(t, "demo.elf"), tty: filepath.Join(dir, "tty")}
	b.plug()
	b.start(dir, filepath.Join(firmwaretest.Root(t), "firmware/demo/device/device.cell"))
	o := &uds.Options{Dir: dir, WaitForListener: patience}
	if b.conn, err = rpc.Connect(t.Context(), uds.Dialer("bench", o), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.conn.Close() })
	b.device, b.math = device.NewDeviceClient(b.conn), math.NewMathClient(b.conn)
	return b
}

// built is where the gateway's program is, which all tests share.
var built = sync.OnceValues(func() (string, error) {
	program := filepath.Join(shared, "gateway")
	text, err := exec.Command("go", "build", "-o", program, "./gateway").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, text)
	}
	return program, err
})

// shared is a folder that is there for as long as the tests run.
var shared string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if shared, err = os.MkdirTemp("", "gw"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(shared)
		return m.Run()
	}())
}

// start runs the gateway until the test ends. Without a schema it asks the device.
func (b *bench) start(dir, schema string) {
	b.Helper()
	program, err := built()
	if err != nil {
		b.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "-name", "bench", "-device", b.tty, "-schema", schema)
	cmd.Env = append(os.Environ(), "CELL_RUNTIME_DIR="+dir)
	cmd.Stderr = &log
	held, err := leash.Start(cmd)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		watchdog := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer watchdog.Stop()
		if err := cmd.Wait(); err != nil {
			b.Errorf("the gateway: %v", err)
		}
		held.Release()
		if b.Failed() {
			b.Logf("the gateway's log:\n%s", log.String())
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "bench*")); len(left) > 0 {
			b.Errorf("left behind: %v", left)
		}
	})
}

// plug starts a board on the line, unplug takes it away.
func (b *bench) plug() {
	b.Helper()
	var tty string
	b.board, tty = firmwaretest.StartTTY(b, b.elf)
	firmwaretest.Plug(b, tty, b.tty)
}

func (b *bench) unplug() {
	b.Helper()
	if err := os.Remove(b.tty); err != nil {
		b.Fatal(err)
	}
	b.board.Stop()
}

// works waits until the device answers.
func (b *bench) works() {
	b.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(b.Context(), 2*time.Second)
		_, err := b.device.Read(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			b.Fatalf("the device does not come back: %v", err)
		}
	}
}

// tally counts how calls ended, and refuses what none may end with.
type tally struct {
	t      *testing.T
	counts [64]atomic.Int64 // by status
}

func (y *tally) add(what string, err error) {
	s := rpc.StatusOf(err)
	switch s {
	case wire.StatusOK, wire.StatusUnavailable, wire.StatusPeerGone, wire.StatusDeadlineExceeded:
		y.counts[s].Add(1)
	case wire.StatusResourceExhausted: // the board has few places for streams
		y.counts[s].Add(1)
	default:
		y.t.Errorf("%s: %v", what, err)
	}
	if err != nil {
		time.Sleep(time.Millisecond) // it will be so for a while
	}
}

// more waits until more calls have ended with that status than before.
func (y *tally) more(s wire.Status, n int64) {
	y.t.Helper()
	before := y.of(s)
	for end := time.Now().Add(patience); y.of(s) < before+n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			y.t.Fatalf("no call ends with %v", s)
		}
	}
}

func (y *tally) of(s wire.Status) int64 { return y.counts[s].Load() }

// The board restarts, is unplugged and plugged in again while callers go on:
// every call ends, none with somebody else's answer, and the board is reached
// again by itself.
func TestDeviceComesAndGoes(t *testing.T) {
	b := newBench(t)
	b.works()
	unary, streams, own := &tally{t: t}, &tally{t: t}, &tally{t: t}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	every := func(f func(i int)) {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				f(i)
			}
		})
	}
	for n := range 3 {
		every(func(i int) { unary.add("Turn", turn(b, byte(n), byte(i))) })
	}
	every(func(int) { streams.add("Sample", sample(b)) })
	every(func(i int) {
		q, err := b.math.Divide(t.Context(), math.Division{Dividend: int64(i), Divisor: 7})
		if own.add("Divide", err); err == nil && q.Value != int64(i/7) {
			t.Errorf("%d / 7 is not %d", i, q.Value)
		}
		time.Sleep(time.Millisecond)
	})
	for range 2 {
		b.board.Reset()
		unary.more(wire.StatusOK, 50)
		b.unplug()
		unary.more(wire.StatusUnavailable, 1)
		b.plug()
		unary.more(wire.StatusOK, 50)
	}
	stop()
	wg.Wait()
	t.Logf("unary: %d answered, %d unavailable, %d peer gone, %d timed out; streams: %d whole, %d broken",
		unary.of(0), unary.of(wire.StatusUnavailable), unary.of(wire.StatusPeerGone), unary.of(wire.StatusDeadlineExceeded),
		streams.of(0), streams.of(wire.StatusPeerGone)+streams.of(wire.StatusDeadlineExceeded))
	if unary.of(0) == 0 || streams.of(0) == 0 || unary.of(wire.StatusPeerGone)+streams.of(wire.StatusPeerGone) == 0 {
		t.Error("this says nothing: no call was answered, or none was under way when the device went")
	}
	if n := own.of(wire.StatusUnavailable) + own.of(wire.StatusPeerGone) + own.of(wire.StatusDeadlineExceeded); n > 0 {
		t.Errorf("%d calls of the gateway's own service failed", n)
	}
	for i := range 200 { // and all is as before
		if err := turn(b, 9, byte(i)); err != nil {
			t.Fatalf("call %d after all that: %v", i, err)
		}
	}
}

// turn has the board turn bytes over that no other call has.
func turn(b *bench, n, i byte) error {
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Second)
	defer cancel()
	q := device.Block{Bytes: [8]byte{n, i, 0, 255, i ^ n, 1, 2, i}}
	r, err := b.device.Turn(ctx, q)
	if err != nil {
		return err
	}
	for j := range q.Bytes {
		if r.Bytes[len(q.Bytes)-1-j] != ^q.Bytes[j] {
			b.Errorf("a wrong reply to %x: %x", q.Bytes, r.Bytes)
			break
		}
	}
	return nil
}

// sample reads a stream of the board's.
func sample(b *bench) error {
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Second)
	defer cancel()
	s, err := b.device.Sample(ctx, device.Sampling{Count: 20, Every: 5})
	if err != nil {
		return err
	}
	defer s.Close()
	n := uint32(0)
	for {
		if _, err = s.Receive(); err != nil {
			break
		}
		n++
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	end, err := s.Reply()
	if err == nil && (end.Sent != 20 || n != 20) {
		b.Errorf("a stream of %d items, of which %d came", end.Sent, n)
	}
	return err
}

// Events of the board reach subscribers through the gateway, and a subscription
// ends with the line.
func TestTopic(t *testing.T) {
	b := newBench(t)
	b.works()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	events, err := b.device.LedChanged(ctx, rpc.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	for i := range 20 {
		on := i%2 == 0
		if _, err := b.device.SetLed(ctx, device.Led{On: on}); err != nil {
			t.Fatal(err)
		}
		if e, err := events.Receive(); err != nil || e.On != on {
			t.Fatalf("event %d: %+v, %v", i, e, err)
		}
	}
	if text, err := b.conn.Describe(ctx, "Device"); err != nil || text != device.DeviceDesc.Text {
		t.Errorf("described as %q, %v", text, err)
	}
	b.unplug()
	if _, err := events.Receive(); !errors.Is(err, wire.StatusPeerGone) {
		t.Errorf("the subscription ended with %v; want peer gone", err)
	}
}
