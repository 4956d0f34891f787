package measure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/perf/peers/internal/peer"
	"github.com/cell-runtime/cell/perf/peers/internal/report"
)

// TestMain is the children, too: Measure runs the program itself again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == ServeArg || os.Args[1] == CallArg) {
		os.Exit(Child(os.Args[1], func(name string) (peer.Adapter, error) {
			if a, ok := manners[name]; ok {
				return a, nil
			}
			return peer.Adapter{}, fmt.Errorf("no manner %q", name)
		}))
	}
	os.Exit(m.Run())
}

// manners are adapters without a product: the client makes everything up, after
// a time that lets the window open.
var manners = map[string]peer.Adapter{}

func init() {
	for name, f := range map[string]func(*faker){
		"good":          func(*faker) {},
		"serve-fails":   func(f *faker) { f.serve = errors.New("no port left") },
		"dial-fails":    func(f *faker) { f.dial = errors.New("nobody there") },
		"call-fails":    func(f *faker) { f.call = errors.New("line cut") },
		"wrong-reply":   func(f *faker) { f.reply = func(b []byte) []byte { return append([]byte{b[0] + 1}, b[1:]...) } },
		"later-wrong":   func(f *faker) { f.reply = f.wrongAfter(100) },
		"short-reply":   func(f *faker) { f.reply = func(b []byte) []byte { return b[1:] } },
		"loses":         func(f *faker) { f.lost = 1 },
		"hangs":         func(f *faker) { f.hang = true },
		"serve-hangs":   func(f *faker) { f.serveHang = true },
		"server-panics": func(f *faker) { f.servePanic = true },
		"no-end":        func(f *faker) { f.closeHang = true },
		"bad-end":       func(f *faker) { f.close = errors.New("file left") },
	} {
		fake := new(faker)
		f(fake)
		manners[name] = peer.Adapter{Name: name, Family: peer.RPC, Works: peer.Works, Serve: fake.Serve, Dial: fake.Dial}
	}
}

type faker struct {
	peer.Unsupported
	serve, dial, call, close               error
	reply                                  func([]byte) []byte
	lost                                   uint64
	hang, serveHang, servePanic, closeHang bool
}

func (f *faker) wrongAfter(n int) func([]byte) []byte {
	return func(b []byte) []byte {
		if n--; n > 0 {
			return b
		}
		return make([]byte, len(b))
	}
}

func (f *faker) Serve(set peer.Setting) (peer.Server, error) {
	switch {
	case f.serveHang:
		select {}
	case f.servePanic:
		panic("the product's fault")
	case f.serve != nil:
		return nil, f.serve
	}
	// A file that nobody removes is not left behind either.
	l, err := net.Listen("unix", filepath.Join(set.Dir, "s"))
	if err != nil {
		return nil, err
	}
	return fakeServer{f, l}, nil
}

type fakeServer struct {
	f *faker
	l net.Listener
}

func (s fakeServer) Addr() string { return s.l.Addr().String() }
func (s fakeServer) Close() error {
	if s.f.closeHang {
		select {}
	}
	return s.f.close
}

func (f *faker) Dial(_ peer.Setting, addr string) (peer.Client, error) {
	if f.dial != nil {
		return nil, f.dial
	}
	c, err := net.Dial("unix", addr)
	if err != nil {
		return nil, err
	}
	return f, c.Close()
}

func (f *faker) Call(b []byte) ([]byte, error) {
	if f.hang {
		select {}
	}
	if f.reply != nil {
		b = f.reply(b)
	}
	return b, f.call
}

func (f *faker) Pipeline(_ []byte, more peer.More) (n uint64, err error) {
	return peer.Parallel(func() (func() error, error) { return func() error { return f.call }, nil }, more)
}

func (f *faker) Stream(b []byte, more peer.More) (t peer.Tally, err error) {
	for n := uint64(0); more(n); n++ {
		t.Add(b)
	}
	t.Count -= f.lost
	return t, f.call
}

func (f *faker) Close() error { return nil }

// one makes the shortest measurement that says something and holds that it
// leaves nothing.
func one(t *testing.T, ctx context.Context, manner string, w peer.Work, p report.Placement) (report.Sample, error) {
	t.Helper()
	if runtime.NumCPU() < 2 {
		t.Skip("needs two CPUs")
	}
	temp, err := os.MkdirTemp("", "pm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(temp) })
	t.Setenv("TMPDIR", temp)
	c := Cell{Peer: manners[manner], Work: w, Size: 100, Placement: p}
	s, err := Measure(ctx, c, Config{CPUs: [2]int{0, 1}, Warmup: 2 * time.Millisecond, Length: 20 * time.Millisecond, Patience: 3 * time.Second})
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		kids := children(t)
		if len(kids) == 0 {
			return s, err
		}
		if time.Now().After(deadline) {
			t.Fatalf("processes live on: %v", kids)
		}
	}
}

// children lists the processes that this one started and didn't reap.
func children(t *testing.T) (found []string) {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(lists) == 0 {
		t.Skip("needs /proc/self/task/*/children")
	}
	for _, l := range lists {
		b, _ := os.ReadFile(l)
		found = append(found, strings.Fields(string(b))...)
	}
	return found
}

func TestEveryWorkIsMeasured(t *testing.T) {
	for _, w := range peer.Works {
		for _, p := range []report.Placement{report.Pinned, report.Free} {
			t.Run(fmt.Sprint(w, " ", p), func(t *testing.T) {
				s, err := one(t, t.Context(), "good", w, p)
				if err != nil {
					t.Fatal(err)
				}
				if s.Peer != "good" || s.Work != string(w) || s.Size != 100 || s.Placement != p {
					t.Errorf("named %+v", s)
				}
				if s.Count == 0 || s.Elapsed < 15*time.Millisecond || s.ClientCPU <= 0 || s.ServerCPU < 0 {
					t.Errorf("figures %+v", s)
				}
				if (s.Times != nil) != (w == peer.RTT) {
					t.Errorf("times %+v", s.Times)
				}
				if x := s.Times; x != nil && (x.P50 > x.P90 || x.P90 > x.P99 || x.P99 > x.P999 || x.Max <= 0) {
					t.Errorf("percentiles %+v", x)
				}
			})
		}
	}
}

func TestWhatGoesWrongIsSaid(t *testing.T) {
	for _, c := range []struct {
		manner string
		work   peer.Work
		says   string
	}{
		{"serve-fails", peer.RTT, "server: no port left"},
		{"dial-fails", peer.RTT, "client: connecting: nobody there"},
		{"call-fails", peer.RTT, "line cut"},
		{"call-fails", peer.Pipelined, "line cut"},
		{"call-fails", peer.Stream, "line cut"},
		{"wrong-reply", peer.RTT, "is not the request"},
		{"later-wrong", peer.RTT, "add up to"},
		{"short-reply", peer.RTT, "99 bytes for 100"},
		{"loses", peer.Stream, "did not arrive as it was sent"},
		{"hangs", peer.RTT, "no answer within"},
		{"serve-hangs", peer.RTT, "no answer within"},
		{"server-panics", peer.RTT, "the product's fault"},
		{"bad-end", peer.RTT, "did not end well"},
	} {
		t.Run(fmt.Sprint(c.manner, " ", c.work), func(t *testing.T) {
			_, err := one(t, t.Context(), c.manner, c.work, report.Pinned)
			if !errors.Is(err, ErrPeer) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

// A product that can't be ended is ended by its process.
func TestServerThatDoesNotEnd(t *testing.T) {
	if _, err := one(t, t.Context(), "no-end", peer.RTT, report.Pinned); err != nil {
		t.Error(err)
	}
}

func TestCancelEndsBothProcesses(t *testing.T) {
	for _, manner := range []string{"hangs", "serve-hangs"} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		begin := time.Now()
		if _, err := one(t, ctx, manner, peer.RTT, report.Pinned); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", manner, err)
		}
		if d := time.Since(begin); d > 3*time.Second {
			t.Errorf("%s: it took %v", manner, d)
		}
		cancel()
	}
}

// Without its parent's pipe a child has no life, wherever it is.
func TestChildEndsWithItsInput(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ arg, manner string }{{ServeArg, "good"}, {ServeArg, "serve-hangs"}, {CallArg, "hangs"}} {
		made := filepath.Join(dir, c.arg+c.manner)
		l, err := net.Listen("unix", filepath.Join(dir, "l"))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe", c.arg)
		out, err := os.Create(filepath.Join(dir, "answers"))
		if err != nil {
			t.Fatal(err)
		}
		cmd.ExtraFiles = []*os.File{out}
		in, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		j := job{Peer: c.manner, Work: peer.RTT, Size: 64, Dir: made, Addr: l.Addr().String(), Length: time.Hour}
		if err := newLines(nil, in).send(j); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(5 * time.Second); c.arg == ServeArg; time.Sleep(time.Millisecond) {
			if _, err := os.Stat(made); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s made no directory", c.manner)
			}
		}
		in.Close()
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Errorf("%s %s lives on", c.arg, c.manner)
			_ = cmd.Process.Kill()
			<-ended
		}
		if _, err := os.Stat(made); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s left its directory: %v", c.manner, err)
		}
		l.Close()
		out.Close()
	}
}

func TestPercentilesLieWithinTheCounterStep(t *testing.T) {
	h, err := metrics.NewHistogram(metrics.HistogramOptions{Highest: 1 << 46, Digits: 3})
	if err != nil {
		t.Fatal(err)
	}
	h.RecordN(100, 500)
	h.RecordN(126, 500)
	d := h.Snapshot()
	// Ticks of 1 ns on a counter that advances by 26.
	for _, c := range []struct{ p, want float64 }{{0, 87}, {25, 100}, {50, 113}, {75, 126}, {100, 139}} {
		if got := percentile(d, c.p, 1, 26); got < c.want-0.1 || got > c.want+0.1 {
			t.Errorf("p%v is %v, want %v", c.p, got, c.want)
		}
	}
	if got := percentile(d, 50, 2, 1); got < 200 || got > 202 {
		t.Errorf("ticks of 2 ns: %v", got)
	}
}

func TestCPUClocks(t *testing.T) {
	mine, err1 := ownCPU()
	other, err2 := cpuOf(os.Getpid())
	if err1 != nil || err2 != nil || mine <= 0 || other < mine || other > mine+time.Second {
		t.Errorf("%v and %v: %v, %v", mine, other, err1, err2)
	}
	if _, err := cpuOf(1 << 22); err == nil {
		t.Error("a process that can't be has used time")
	}
}

func TestBareLine(t *testing.T) {
	for _, c := range []struct {
		name string
		cpus [2]int
		ok   bool
	}{
		{"two CPUs", [2]int{0, 1}, true},
		{"the first is none", [2]int{1 << 20, 1}, false},
		{"the second is none", [2]int{0, 1 << 20}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if nanos, err := bareLine(c.cpus); (err == nil) != c.ok || c.ok && nanos <= 0 {
				t.Errorf("%v ns, %v", nanos, err)
			}
		})
	}
}
