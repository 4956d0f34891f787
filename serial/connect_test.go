package serial_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/serial"
	"github.com/cell-runtime/cell/serial/serialtest"
	"github.com/cell-runtime/cell/wire"
)

func pair(t testing.TB) (a, b serial.Stream) {
	t.Helper()
	p, q, err := serialtest.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(); q.Close() })
	return p, q
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func send(t testing.TB, l link.Link, text string) {
	t.Helper()
	var v [1]wire.Vesicle
	_, err := l.Claim(v[:], len(text))
	for end := time.Now().Add(time.Minute); errors.Is(err, link.ErrFull) && time.Now().Before(end); _, err = l.Claim(v[:], len(text)) {
		time.Sleep(50 * time.Microsecond) // an acknowledgement is on its way
	}
	if err != nil {
		t.Fatal(err)
	}
	copy(v[0].Payload, text)
	v[0].Header = wire.Header{Kind: wire.KindEvent, Hops: 16}
	if err := errors.Join(l.Commit(v[:]), l.Flush()); err != nil && !errors.Is(err, link.ErrFull) {
		t.Fatal(err)
	}
}

// receive polls until a vesicle comes, or the link ends.
func receive(t testing.TB, l link.Link) (string, error) {
	t.Helper()
	var v [1]wire.Vesicle
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Microsecond) {
		n, err := l.Poll(v[:])
		if err != nil {
			return "", err
		}
		if n == 1 {
			text := string(v[0].Payload)
			return text, l.Release(1)
		}
	}
	t.Fatal("nothing comes")
	return "", nil
}

func TestTheLesserOfBothSidesCounts(t *testing.T) {
	for _, v := range []struct {
		name           string
		a, b           serial.Options
		most           int
		reliable, whys bool
	}{
		{name: "defaults", most: 1024, reliable: true},
		{name: "payloads", a: serial.Options{MaxPayload: 64}, b: serial.Options{MaxPayload: 4096}, most: 64, reliable: true},
		{name: "a window on one side", a: serial.Options{Window: 8, Noisy: true}, b: serial.Options{Noisy: true}, most: 1024, whys: true},
		{name: "windows", a: serial.Options{Window: 8, Noisy: true}, b: serial.Options{Window: 32, Noisy: true}, most: 1024, reliable: true},
		{name: "noise", a: serial.Options{Noisy: true}, b: serial.Options{Noisy: true}, most: 1024},
	} {
		t.Run(v.name, func(t *testing.T) {
			p, q := pair(t)
			var a, b *serial.Conn
			var wg sync.WaitGroup
			ctx := within(t, time.Minute)
			wg.Go(func() { a, _ = serial.Connect(ctx, p, &v.a) })
			wg.Go(func() { b, _ = serial.Connect(ctx, q, &v.b) })
			wg.Wait()
			if a == nil || b == nil {
				t.Fatal("no connection")
			}
			defer a.Close()
			defer b.Close()
			i := a.Info()
			if i.Kind != "serial" || i.MaxPayload != v.most || b.Info().MaxPayload != v.most || i.Reliable != v.reliable ||
				b.Info().Reliable != v.reliable || (len(i.Why) > 0) != v.whys {
				t.Errorf("%+v and %+v", i, b.Info())
			}
			send(t, a, "there")
			if got, err := receive(t, b); got != "there" || err != nil {
				t.Error(got, err)
			}
		})
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	p, _ := pair(t)
	for _, o := range []serial.Options{
		{MaxPayload: 19}, {MaxPayload: serial.MaxPayload + 1}, {Window: -1}, {Window: serial.MaxWindow + 1},
		{Buffer: -1}, {Buffer: 1 << 30}, {KeepAlive: -1},
	} {
		if c, err := serial.Connect(t.Context(), p, &o); err == nil {
			c.Close()
			t.Errorf("%+v is accepted", o)
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Run("silence", func(t *testing.T) {
		p, _ := pair(t)
		_, err := serial.Connect(within(t, 50*time.Millisecond), p, nil)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "nobody answers") {
			t.Error(err)
		}
		// The stream is still the caller's.
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("a loop", func(t *testing.T) {
		p, q := pair(t)
		go func() {
			b := make([]byte, 100)
			c := q.(interface {
				Read([]byte) (int, error)
				Write([]byte) (int, error)
			})
			for {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				_, _ = c.Write(b[:n])
			}
		}()
		says(t, p, func(err error) bool { return errors.Is(err, serial.ErrEcho) })
	})
	t.Run("something that is no Cell", func(t *testing.T) {
		p, q := pair(t)
		go func() {
			for err := error(nil); err == nil; time.Sleep(time.Millisecond) { // until it is closed
				_, err = q.(interface{ Write([]byte) (int, error) }).Write([]byte("login: "))
			}
		}()
		says(t, p, func(err error) bool { return strings.Contains(err.Error(), "baud rate") })
	})
	t.Run("the other side goes", func(t *testing.T) {
		p, q := pair(t)
		time.AfterFunc(20*time.Millisecond, func() { q.Close() })
		if _, err := serial.Connect(within(t, time.Minute), p, nil); !errors.Is(err, link.ErrPeerGone) {
			t.Error(err)
		}
	})
	t.Run("another version", func(t *testing.T) {
		p, q := pair(t)
		_, _ = q.(interface{ Write([]byte) (int, error) }).Write(serial.HelloOfVersion(9))
		if _, err := serial.Connect(within(t, time.Minute), p, nil); !errors.Is(err, serial.ErrVersion) {
			t.Error(err)
		}
	})
}

// says connects to what can't be connected to, for as long as it takes to notice what
// is there: longer where the host is busy with others.
func says(t *testing.T, p serial.Stream, right func(error) bool) {
	t.Helper()
	for patience := 50 * time.Millisecond; ; patience *= 2 {
		_, err := serial.Connect(within(t, patience), p, nil)
		if err == nil {
			t.Fatal("it is connected")
		}
		if right(err) {
			return
		}
		if patience > 30*time.Second {
			t.Fatal(err)
		}
	}
}

// A side that starts anew on the same line ends the other's connection, and
// both connect again.
func TestEitherSideMayRestart(t *testing.T) {
	for _, o := range []*serial.Options{nil, {Window: 8}} {
		master, slave, err := serial.OpenPTY()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { slave.Close() })
		a, b := connected(t, kept{master}, kept{slave}, o)
		for range 3 {
			send(t, a, "before")
			b.Vanish() // b's process dies; the line stays
			var wg sync.WaitGroup
			ctx := within(t, time.Minute)
			var next *serial.Conn
			wg.Go(func() { next, err = serial.Connect(ctx, kept{slave}, o) })
			for {
				_, gone := receive(t, a)
				if gone != nil {
					if !errors.Is(gone, link.ErrPeerGone) || !strings.Contains(gone.Error(), "anew") {
						t.Fatal(gone)
					}
					break
				}
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			again, err2 := serial.Connect(ctx, kept{master}, o)
			wg.Wait()
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			_ = b.Close()
			a, b = again, next
			send(t, b, "after")
			if got, err := receive(t, a); got != "after" || err != nil {
				t.Fatal(got, err)
			}
		}
		_, _ = a.Close(), b.Close()
	}
}

// kept is a stream that outlives its connections.
type kept struct{ *os.File }

func (kept) Close() error { return nil }

func TestKeepAlive(t *testing.T) {
	for _, o := range []*serial.Options{{KeepAlive: 20 * time.Millisecond}, {KeepAlive: 20 * time.Millisecond, Window: 4}} {
		master, slave, err := serial.OpenPTY()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { master.Close(); slave.Close() })
		a, b := connected(t, master, kept{slave}, o)
		var v [1]wire.Vesicle
		// Both poll: both live.
		for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if _, err := a.Poll(v[:]); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Poll(v[:]); err != nil {
				t.Fatal(err)
			}
		}
		b.Vanish()
		if _, err := receive(t, a); !errors.Is(err, link.ErrPeerGone) || !strings.Contains(err.Error(), "KeepAlive") {
			t.Errorf("window %d: %v", o.Window, err)
		}
		_, _ = a.Close(), b.Close()
	}
}

func TestAWindowRepairsAVeryBadLine(t *testing.T) {
	p, inner1, err := serialtest.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	q, inner2, err := serialtest.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	line := serialtest.Join(inner1, inner2, serialtest.Every(1e-3), 7)
	t.Cleanup(line.Close)
	a, b := connected(t, p, q, &serial.Options{MaxPayload: 64, Window: 32, Noisy: true})
	const n = 3000
	var wg sync.WaitGroup
	wg.Go(func() {
		var out [4]wire.Vesicle
		for i := 0; i < n; {
			k, err := a.Claim(out[:min(4, n-i)], 40)
			if errors.Is(err, link.ErrFull) {
				time.Sleep(50 * time.Microsecond)
				continue
			}
			if err != nil {
				t.Error(err)
				return
			}
			for j := range out[:k] {
				out[j].Header = wire.Header{Kind: wire.KindEvent, Correlation: uint32(i + j)}
			}
			i += k
			if err := a.Commit(out[:k]); err != nil {
				t.Error(err)
				return
			}
			_ = a.Flush()
		}
	})
	var in [8]wire.Vesicle
	for next := uint32(0); next < n; {
		k, err := b.Poll(in[:])
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range in[:k] {
			if v.Header.Correlation != next {
				t.Fatalf("vesicle %d comes where %d should", v.Header.Correlation, next)
			}
			next++
		}
		if err := b.Release(k); err != nil {
			t.Fatal(err)
		}
		if k == 0 {
			time.Sleep(20 * time.Microsecond)
		}
	}
	wg.Wait()
	s := a.LineStats()
	t.Logf("%d faults; sent again %d of %d, %d of them after a timeout", line.Faults(), s.Again, n, s.Timeouts)
	if s.Again == 0 {
		t.Error("nothing was sent again: was there noise?")
	}
	if s.Again > n {
		t.Errorf("%d vesicles were sent again for %d faults", s.Again, line.Faults())
	}
	_, _ = a.Close(), b.Close()
}

func TestOpen(t *testing.T) {
	master, slave, err := serial.OpenPTY()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	for _, mode := range []serial.Mode{
		{}, {Baud: 9600}, {Baud: 250_000}, {Baud: 1_234_567, StopBits: 2, Parity: serial.ParityEven, RTSCTS: true, LowLatency: true},
		{Parity: serial.ParityOdd}, {Parity: serial.ParitySpace},
	} {
		p, err := serial.Open(slave.Name(), mode)
		if err != nil {
			t.Fatalf("%+v: %v", mode, err)
		}
		speed, err := p.Speed()
		if want := p.Mode().Baud; err != nil || speed != want || want == 0 {
			t.Errorf("%+v: %d baud, %v", mode, speed, err)
		}
		if second, err := serial.Open(slave.Name(), mode); err == nil {
			second.Close()
			t.Error("a port can be opened twice")
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, mode := range []serial.Mode{{Baud: -1}, {Baud: 1 << 30}, {StopBits: 3}, {Parity: 9}} {
		if p, err := serial.Open(slave.Name(), mode); err == nil {
			p.Close()
			t.Errorf("%+v is accepted", mode)
		}
	}
	// A PTY has no transceiver; the refusal says so.
	if p, err := serial.Open(slave.Name(), serial.Mode{RS485: &serial.RS485{}}); err == nil {
		p.Close()
		t.Error("RS-485 on a PTY is accepted")
	} else if !strings.Contains(err.Error(), "RS-485") {
		t.Error(err)
	}
	if _, err := serial.Open(filepath.Join(t.TempDir(), "none"), serial.Mode{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "plugged in") {
		t.Error(err)
	}
	if _, err := serial.Open("/dev/null", serial.Mode{}); err == nil || !strings.Contains(err.Error(), "not a tty") {
		t.Error(err)
	}
}

// Dial waits for a device that is not there yet, and connects again after it
// was unplugged.
func TestDialWaitsForTheDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ttyDEVICE")
	for round := range 3 {
		ctx := within(t, time.Minute)
		var c *serial.Conn
		var err error
		var wg sync.WaitGroup
		wg.Go(func() { c, err = serial.Dial(ctx, path, serial.Mode{}, nil) })
		time.Sleep(30 * time.Millisecond)
		master, slave, e := serial.OpenPTY()
		if e != nil {
			t.Fatal(e)
		}
		if e := os.Symlink(slave.Name(), path); e != nil { // plugged in
			t.Fatal(e)
		}
		slave.Close()
		device, e := connectAgain(ctx, master)
		if e != nil {
			t.Fatal(e)
		}
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		send(t, device, "hello")
		if got, err := receive(t, c); got != "hello" || err != nil {
			t.Fatal(got, err)
		}
		if e := os.Remove(path); e != nil { // unplugged
			t.Fatal(e)
		}
		device.Vanish()
		if e := device.Close(); e != nil {
			t.Fatal(e)
		}
		if _, gone := receive(t, c); !errors.Is(gone, link.ErrPeerGone) {
			t.Fatalf("round %d: %v", round, gone)
		}
		if e := c.Close(); e != nil {
			t.Fatal(e)
		}
	}
	ctx := within(t, 100*time.Millisecond)
	if _, err := serial.Dial(ctx, path, serial.Mode{}, nil); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no device: %v", err)
	}
	if _, err := serial.Dial(ctx, "/dev/null", serial.Mode{}, nil); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no tty: %v", err)
	}
}

// connectAgain connects over a master whose slave may not be open yet: reading
// it then says EIO, as if it had been closed.
func connectAgain(ctx context.Context, master *os.File) (*serial.Conn, error) {
	for {
		c, err := serial.Connect(ctx, master, nil)
		if err == nil || !errors.Is(err, link.ErrPeerGone) {
			return c, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestNoiseBetweenFramesCostsNothing(t *testing.T) {
	for _, o := range []*serial.Options{nil, {Window: 8}} {
		p, q := pair(t)
		a, b := connected(t, p, q, o)
		raw := p.(interface{ Write([]byte) (int, error) })
		for i := range 300 {
			if _, err := raw.Write([]byte{0xff, byte(i), 0x55}); err != nil {
				t.Fatal(err)
			}
			send(t, a, "ping")
			if got, err := receive(t, b); got != "ping" || err != nil {
				t.Fatal(i, got, err)
			}
		}
		if s := b.LineStats(); s.Dropped() < 250 {
			t.Errorf("the noise was not counted: %+v", s)
		}
		if lost, window := b.ReceiveStats().Dropped, o != nil; (lost == 0) != window {
			t.Errorf("window %t: %d vesicles count as lost", window, lost)
		}
		_, _ = a.Close(), b.Close()
	}
}
