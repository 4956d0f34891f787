//go:build vcan

package can

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// These tests need a kernel with CAN and the interfaces vcan0 and vcan1, with an
// MTU of 72. kernel_test.go boots one; where there is one: go test -tags vcan.

func openVCAN(t testing.TB, name string, o *InterfaceOptions) *Socket {
	t.Helper()
	s, err := OpenInterface(name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// numbers gives out pairs of node numbers, so that links that a case forgets to
// close are in nobody's way.
var numbers = func() func() (a, b NodeID) {
	next := 0
	return func() (a, b NodeID) {
		a = NodeID(next % 126)
		next += 2
		return a, a + 1
	}
}()

func TestKernelConformance(t *testing.T) {
	for _, v := range []struct {
		name    string
		classic bool
	}{{"classic", true}, {"FD", false}} {
		t.Run(v.name, func(t *testing.T) {
			slow := Config{Classic: v.classic, Heartbeat: 25 * time.Millisecond, Dead: 800 * time.Millisecond}
			watcher := openVCAN(t, "vcan0", &InterfaceOptions{Everything: true})
			conforms(t, slow, 16<<10, func(t testing.TB) buses {
				a, b := numbers()
				return buses{
					a:     openVCAN(t, "vcan0", &InterfaceOptions{Node: a}),
					b:     openVCAN(t, "vcan0", &InterfaceOptions{Node: b}),
					third: watcher, numberOfA: a, numberOfB: b,
				}
			})
		})
	}
}

// receiveAll takes what is there.
func receiveAll(t *testing.T, s *Socket) (all []Frame) {
	t.Helper()
	buf := make([]Frame, 64)
	for {
		n, err := s.Receive(buf)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return all
		}
		all = append(all, buf[:n]...)
	}
}

// stayOnOneCPU keeps the test's thread where it is. A vcan queues what is sent
// on the sender's CPU, so frames of a thread that moves can overtake each other,
// as those of one controller never do.
func stayOnOneCPU(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	var old, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		t.Fatal(err)
	}
	one.Set(0)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.SchedSetaffinity(0, &old); err != nil {
			t.Error(err)
		}
		runtime.UnlockOSThread()
	})
}

// raiseBacklog makes the queue between a virtual bus and the sockets hold n
// frames. It is the kernel's own for each CPU, drops in silence, and fills up
// whenever a sender is faster than the soft interrupt that empties it.
func raiseBacklog(t *testing.T, n int) {
	t.Helper()
	const path = "/proc/sys/net/core/netdev_max_backlog"
	old, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, fmt.Appendln(nil, n), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(path, old, 0) })
}

func TestKernelBurst(t *testing.T) {
	const burst = 20_000
	raiseBacklog(t, 2*burst)
	from := openVCAN(t, "vcan0", &InterfaceOptions{Everything: true})
	send := func(i int) {
		f := Frame{ID: MakeID(7, ClassEvent, 20, 21, uint16(i)), Len: 8, Data: [64]byte{byte(i), byte(i >> 8)}}
		if err := from.Send(&f); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("all frames wait for a reader that comes late", func(t *testing.T) {
		stayOnOneCPU(t)
		to := openVCAN(t, "vcan0", &InterfaceOptions{Node: 20})
		for i := range burst {
			send(i)
		}
		got := receiveAll(t, to)
		if len(got) != burst {
			t.Fatalf("%d of %d frames arrived; %v", len(got), burst, to.Info().Why)
		}
		for i, f := range got {
			if f.Lost != 0 || f.Data[0] != byte(i) || f.Data[1] != byte(i>>8) {
				t.Fatalf("frame %d: %v, %d lost before", i, &f, f.Lost)
			}
			if f.Time == 0 {
				t.Fatalf("frame %d has no time", i)
			}
		}
	})
	t.Run("what a small buffer loses is counted to the frame", func(t *testing.T) {
		stayOnOneCPU(t)
		to := openVCAN(t, "vcan0", &InterfaceOptions{Node: 20, ReceiveBuffer: 64 << 10})
		for i := range burst {
			send(i)
		}
		got := len(receiveAll(t, to))
		send(0) // the counter comes with the next frame
		last := receiveAll(t, to)
		if got == burst || len(last) != 1 || got+int(last[0].Lost) != burst {
			t.Fatalf("%d frames arrived, and one more that tells of %d lost; sent were %d", got, last[0].Lost, burst)
		}
	})
	t.Run("vesicles between nodes", func(t *testing.T) {
		a := newNode(t, openVCAN(t, "vcan0", &InterfaceOptions{Node: 1}), Config{Node: 1, Routes: []uint64{42}})
		b := newNode(t, openVCAN(t, "vcan0", &InterfaceOptions{Node: 2}), Config{Node: 2})
		defer a.Close()
		defer b.Close()
		x, y := connect(t, a, b)
		before := a.Stats().Sent.Frames
		transferRequests(t, x, y, burst)
		// Besides the requests themselves: the flow control of the own side.
		if frames := a.Stats().Sent.Frames - before; frames < burst || frames > burst+burst/100 {
			t.Errorf("%d requests took %d frames", burst, frames)
		}
		if s := b.Stats(); s.Lost != 0 || s.Gaps != 0 {
			t.Errorf("lost %d, gaps %d", s.Lost, s.Gaps)
		}
	})
}

// waitFor waits until f says true.
func waitFor(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// sendNumbered sends n vesicles like h whose correlation counts up.
func sendNumbered(l link.Sender, h wire.Header, n, size int) error {
	for i := range n {
		h.Correlation = uint32(i)
		if err := send(l, h, numbered(i, size)); err != nil {
			return fmt.Errorf("sending vesicle %d: %w", i, err)
		}
	}
	return nil
}

func expectNumbered(l link.Receiver, h wire.Header, n, size int) error {
	for i := range n {
		v, err := receive(l)
		if err != nil {
			return fmt.Errorf("receiving vesicle %d: %w", i, err)
		}
		h.Correlation, h.Length = uint32(i), uint32(size)
		if v.Header != h || !bytes.Equal(v.Payload, numbered(i, size)) {
			return fmt.Errorf("vesicle %d: %+v % x", i, v.Header, v.Payload)
		}
	}
	return nil
}

// transferRequests sends n numbered requests of 7 bytes and checks each.
func transferRequests(t *testing.T, x, y *Conn, n int) {
	t.Helper()
	h := wire.Header{Fingerprint: 42, Kind: wire.KindRequest, Hops: 16}
	done := make(chan error, 1)
	go func() { done <- sendNumbered(x, h, n, 7) }()
	if err := expectNumbered(y, h, n, 7); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestKernelEightNodes(t *testing.T) {
	for _, classic := range []bool{true, false} {
		t.Run(map[bool]string{true: "classic", false: "FD"}[classic], func(t *testing.T) {
			const nodes, each = 8, 30
			all := make([]*Node, nodes)
			for i := range all {
				number := NodeID(30 + i)
				all[i] = newNode(t, openVCAN(t, "vcan1", &InterfaceOptions{Node: number}),
					Config{Node: number, Classic: classic, Dead: 20 * time.Second, Heartbeat: 200 * time.Millisecond})
				defer all[i].Close()
			}
			meshLoad(t, all, each)
			for i, n := range all {
				if s := n.Stats(); s.Lost != 0 || s.Malformed != 0 {
					t.Errorf("node %d: %+v", i, s)
				}
			}
		})
	}
}

// vcan has no controller, so it can't fail. It does carry error frames that
// somebody writes, which is all that software sees of a bus-off.
func TestKernelBusOff(t *testing.T) {
	told := make(chan BusError, 16)
	socket := openVCAN(t, "vcan0", &InterfaceOptions{Node: 1})
	// A node that hears something a heartbeat after its controller went takes it for back.
	// Here it hears all the time, as no controller does that is off.
	const heartbeat, dead = 2 * time.Second, 20 * time.Second
	a := newNode(t, socket, Config{Node: 1, Routes: []uint64{42}, RestartAfter: 20 * time.Millisecond, Dead: dead,
		Heartbeat: heartbeat, BusError: func(e BusError) { told <- e }})
	b := newNode(t, openVCAN(t, "vcan0", &InterfaceOptions{Node: 2}), Config{Node: 2, Dead: dead, Heartbeat: heartbeat})
	defer a.Close()
	defer b.Close()
	x, y := connect(t, a, b)
	transferRequests(t, x, y, 100)

	inject := rawSocket(t, "vcan0")
	inject(BusError{Errors: ErrorBusOff})
	if e := <-told; e.Errors != ErrorBusOff {
		t.Fatalf("told of %v", e)
	}
	// The node tries to restart the controller; vcan has none.
	waitFor(t, "a refused restart", func() bool { return a.Stats().RestartFailed > 0 })
	if err := a.RestartError(); !errors.Is(err, ErrBusOff) || !strings.Contains(err.Error(), "restart-ms") {
		t.Errorf("RestartError: %v", err)
	}
	done := make(chan error, 1)
	h := wire.Header{Fingerprint: 42, Kind: wire.KindRequest, Hops: 16}
	go func() { done <- sendNumbered(x, h, 100, 7) }()
	time.Sleep(20 * time.Millisecond)
	if n, err := y.Poll(make([]wire.Vesicle, 1)); n != 0 || err != nil {
		t.Errorf("a node that is bus-off sends: %d, %v", n, err)
	}
	inject(BusError{Errors: ErrorRestarted})
	if err := expectNumbered(y, h, 100, 7); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := a.Stats(); s.BusOff != 1 || s.Restarts != 1 || s.Errors < 2 {
		t.Errorf("counted %d bus-off, %d restarts, %d error frames", s.BusOff, s.Restarts, s.Errors)
	}
}

// rawSocket returns a way to write error frames, which Socket.Send refuses.
func rawSocket(t *testing.T, name string) func(BusError) {
	s := openVCAN(t, name, &InterfaceOptions{Everything: true})
	return func(e BusError) {
		f := e.frame()
		f.Flags = 0
		var b [canFDMTU]byte
		n := putFrame(&b, &f)
		b[3] = b[3]&^0x80 | 0x20 // CAN_ERR_FLAG instead of CAN_EFF_FLAG, little endian
		if _, err := unix.Write(s.fd, b[:n]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKernelFilters(t *testing.T) {
	from := openVCAN(t, "vcan0", &InterfaceOptions{Everything: true})
	to := openVCAN(t, "vcan0", &InterfaceOptions{Node: 50})
	all := openVCAN(t, "vcan0", &InterfaceOptions{Everything: true})
	for _, v := range []struct {
		what  string
		frame Frame
		want  bool
	}{
		{"for the node", Frame{ID: MakeID(7, ClassEvent, 50, 3, 0)}, true},
		{"for everyone", Frame{ID: MakeID(7, ClassEvent, Everyone, 3, 0)}, true},
		{"from another with the same number", Frame{ID: MakeID(7, ClassEvent, 9, 50, 0)}, true},
		{"for another", Frame{ID: MakeID(7, ClassEvent, 51, 3, 0)}, false},
		{"11 bits", Frame{ID: 50, Flags: FlagStandard}, false},
		{"remote", Frame{ID: MakeID(7, ClassEvent, 50, 3, 0), Flags: FlagRemote}, false},
		{"FD", Frame{ID: MakeID(7, ClassEvent, 50, 3, 0), Flags: FlagFD | FlagBRS, Len: 64}, true},
	} {
		if err := from.Send(&v.frame); err != nil {
			t.Fatalf("%s: %v", v.what, err)
		}
		if got := receiveAll(t, to); (len(got) == 1) != v.want {
			t.Errorf("%s: the filter passes %d frames", v.what, len(got))
		}
		got := receiveAll(t, all)
		if len(got) != 1 || got[0].String() != v.frame.String() {
			t.Errorf("%s: %v arrives as %v", v.what, &v.frame, got)
		}
	}
	for _, f := range []Frame{{Len: 9}, {Flags: FlagFD, Len: 9}, {ID: 1 << 29}, {Flags: FlagError, Len: 8}} {
		if err := from.Send(&f); !errors.Is(err, ErrFrame) {
			t.Errorf("%+v: %v, want ErrFrame", f, err)
		}
	}
}

func TestKernelDuplicate(t *testing.T) {
	a := newNode(t, openVCAN(t, "vcan0", &InterfaceOptions{Node: 60}), Config{Node: 60})
	defer a.Close()
	b := newNode(t, openVCAN(t, "vcan0", &InterfaceOptions{Node: 60}), Config{Node: 60})
	defer b.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go b.Dial(ctx, 61)
	if _, err := a.Accept(ctx); !errors.Is(err, ErrDuplicate) {
		t.Errorf("Accept: %v, want ErrDuplicate", err)
	}
}

// The tools that people have beside: what candump prints is what Frame.String
// says, and what cansend is given arrives as that.
func TestKernelCanUtils(t *testing.T) {
	for _, tool := range []string{"candump", "cansend"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not in the machine; apt-get install can-utils on the host", tool)
		}
	}
	watch := openVCAN(t, "vcan1", &InterfaceOptions{Everything: true})
	dump := exec.Command("candump", "-L", "vcan1")
	out := &lockedBuffer{}
	dump.Stdout = out
	if err := dump.Start(); err != nil {
		t.Fatal(err)
	}
	defer dump.Wait()
	defer dump.Process.Kill()
	waitFor(t, "candump's socket", func() bool {
		b, _ := os.ReadFile("/proc/net/can/rcvlist_all")
		return strings.Count(string(b), "vcan1") > 1
	})
	var want []string
	for _, s := range []string{"1CC50A02#0102", "00000001#", "0F810203##1112233445566778899AABBCC", "1FFFFFFF#R"} {
		if o, err := exec.Command("cansend", "vcan1", s).CombinedOutput(); err != nil {
			t.Fatalf("cansend %s: %v %s", s, err, o)
		}
		want = append(want, s)
	}
	a := newNode(t, openVCAN(t, "vcan1", &InterfaceOptions{Node: 1}), Config{Node: 1, Routes: []uint64{42}})
	b := newNode(t, openVCAN(t, "vcan1", &InterfaceOptions{Node: 2}), Config{Node: 2})
	x, y := connect(t, a, b)
	transferRequests(t, x, y, traced)
	a.Close()
	b.Close()
	var seen []string
	for _, f := range receiveAll(t, watch) {
		seen = append(seen, f.String())
	}
	if !slices.Equal(seen[:len(want)], want) {
		t.Errorf("cansend was given\n%v\nand there came\n%v", want, seen[:len(want)])
	}
	var dumped []string
	waitFor(t, fmt.Sprintf("%d lines of candump", len(seen)), func() bool {
		dumped = dumped[:0]
		for line := range strings.Lines(out.String()) {
			if f := strings.Fields(line); len(f) >= 3 {
				// Newer kernels set the flag FDF, which candump prints as 4.
				dumped = append(dumped, strings.Replace(f[2], "##5", "##1", 1))
			}
		}
		return len(dumped) >= len(seen)
	})
	for line := range strings.Lines(out.String()) {
		fmt.Print(traceMark, line) // for the host, which has tshark
	}
	if !slices.Equal(dumped, seen) {
		t.Errorf("candump prints\n%v\nFrame.String\n%v", dumped, seen)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// can0 and can1 are emulated SJA1000 controllers on one bus, with a real driver:
// queues that fill up, bit rates to be asked for, no FD.
func TestKernelControllers(t *testing.T) {
	a := openVCAN(t, "can0", &InterfaceOptions{Node: 1})
	b := openVCAN(t, "can1", &InterfaceOptions{Node: 2})
	if r := a.Info().Rates; r.Nominal != 500_000 || a.Info().FD {
		t.Errorf("Info: %+v", a.Info())
	}
	if off, err := a.Off(); err != nil || off {
		t.Errorf("a controller that is on its bus is off: %t, %v", off, err)
	}
	if err := a.Restart(); err == nil || errors.Is(err, link.ErrClosed) {
		t.Errorf("Restart of a controller that is not bus-off: %v", err)
	}
	// On a busy host the emulated controllers lose frames and don't say so.
	ca := Config{Node: 1, Routes: []uint64{42}, Dead: 5 * time.Second}
	cb := Config{Node: 2, Dead: 5 * time.Second}
	na, nb := newNode(t, a, ca), newNode(t, b, cb)
	defer na.Close()
	defer nb.Close()
	x, y := connect(t, na, nb)
	if x.FD() || len(x.Info().Why) == 0 {
		t.Errorf("FD %t, why %v", x.FD(), x.Info().Why)
	}
	transferRequests(t, x, y, 2000)
	s := na.Stats()
	if s.Sent.Least == 0 || s.Sent.Most <= s.Sent.Least {
		t.Errorf("bus load: %+v", s.Sent)
	}
	t.Logf("the queue was full %d times; %d gaps, %d frames sent again", s.Full, nb.Stats().Gaps, s.Resent)
}
