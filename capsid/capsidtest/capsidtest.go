package capsidtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/capsid"
)

// Harness is one backend to test.
type Harness struct {
	Backend capsid.Backend
	// Base is what every Spec of the suite begins with.
	Base capsid.Spec
	// Command makes the command of the suite's cell in a role. Default:
	// Command.
	Command func(role ...string) []string
	// NoProcesses: the backend's cells can't start any.
	NoProcesses bool
	// NoSignals: the backend's cells can't get any.
	NoSignals bool
	// Groups: limits by control groups can be had on this host.
	Groups bool
}

// patience bounds everything that the suite waits for on a busy machine.
const patience = 30 * time.Second

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	if h.Command == nil {
		h.Command = Command
	}
	h.RunOne(t, h.spec("exit", "0")) // opens what is opened once
	for _, c := range []struct {
		name string
		run  func(*testing.T, Harness)
		skip bool
	}{
		{"a cell that ends is told apart by its status", caseStatus, false},
		{"a crash is told from a kill and from a hang", caseCauses, h.NoSignals},
		{"Stop asks first and forces after the grace", caseStop, h.NoSignals},
		{"the environment is what was given and nothing else", caseEnvironment, false},
		{"the socket reaches the node and nothing else is inherited", caseSocket, h.NoProcesses},
		{"the last lines of output are kept and all of it is passed on", caseOutput, false},
		{"too much output ends the cell", caseOutputLimit, false},
		{"descriptors are bounded", caseOpenFiles, h.NoProcesses},
		{"cpu time is bounded", caseCPUTime, h.NoProcesses},
		{"what a cell has started ends with it", caseChildren, h.NoProcesses},
		{"a program that is missing starts nothing and says so", caseMissing, false},
		{"a specification that can't be meant is refused", caseSpec, false},
		{"a context that has ended starts nothing", caseContext, false},
		{"memory is bounded and its kill told apart", caseMemory, !h.Groups},
		{"processes are bounded", caseProcesses, !h.Groups || h.NoProcesses},
		{"many at once come and go and leave nothing", caseMany, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.skip {
				t.Skip("not with this backend, or not on this host: see its harness")
			}
			before := snapshot()
			c.run(t, h)
			before.compare(t)
		})
	}
}

func (h Harness) spec(role ...string) capsid.Spec {
	s := h.Base
	s.Name = "suite"
	s.Command = h.Command(role...)
	return s
}

// start starts a cell that does not outlive the test.
func (h Harness) start(t testing.TB, s capsid.Spec) capsid.Process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p, err := h.Backend.Start(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(capsid.Killed, "the test is over"); End(t, p) })
	return p
}

// End waits for a process and closes its socket.
func End(t testing.TB, p capsid.Process) capsid.Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	e, err := p.Wait(ctx)
	if err != nil {
		p.Kill(capsid.Killed, "the test has waited too long")
		t.Fatalf("%s does not end: %v; it said %q", p.Name(), err, p.Tail())
	}
	if c := p.Socket(); c != nil {
		c.Close()
	}
	return e
}

// RunOne starts a cell in a role and waits for its end.
func (h Harness) RunOne(t testing.TB, s capsid.Spec) capsid.Exit {
	t.Helper()
	return End(t, h.start(t, s))
}

// AwaitLine waits until the cell has written a line.
func AwaitLine(t testing.TB, p capsid.Process, want string) {
	t.Helper()
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(time.Millisecond) {
		for _, l := range p.Tail() {
			if strings.HasPrefix(l, want) {
				return
			}
		}
		select {
		case <-p.Done():
			if strings.Contains(strings.Join(p.Tail(), "\n"), want) {
				return
			}
			t.Fatalf("%s ended before it said %q: %q", p.Name(), want, p.Tail())
		default:
		}
	}
	t.Fatalf("%s does not say %q: %q", p.Name(), want, p.Tail())
}

func caseStatus(t *testing.T, h Harness) {
	codes := []string{"0", "1", "42"}
	if h.Backend.Name() == "none" || tellsEnds() {
		codes = append(codes, "137") // as a shell says it of SIGKILL
	}
	for _, code := range codes {
		e := h.RunOne(t, h.spec("exit", code))
		if e.Cause != capsid.Exited || fmt.Sprint(e.Code) != code || e.Signal != 0 || e.Success() != (code == "0") {
			t.Errorf("exit %s: %+v", code, e)
		}
		if e.Ended.Before(e.Began) || e.Why == "" {
			t.Errorf("exit %s: %+v", code, e)
		}
	}
}

func caseCauses(t *testing.T, h Harness) {
	for role, want := range map[string]syscall.Signal{"crash": syscall.SIGABRT, "killself": syscall.SIGKILL} {
		e := h.RunOne(t, h.spec(role))
		if e.Cause != capsid.Crashed || e.Signal != want || len(e.Tail) == 0 {
			t.Errorf("%s: %+v", role, e)
		}
	}
	for _, cause := range []capsid.Cause{capsid.Killed, capsid.Hung} {
		p := h.start(t, h.spec("sleep"))
		AwaitLine(t, p, "ready")
		p.Kill(cause, "because")
		p.Kill(capsid.Killed, "again")
		if e := End(t, p); e.Cause != cause || e.Why != "because" || e.Success() {
			t.Errorf("%v: %+v", cause, e)
		}
		p.Kill(capsid.Killed, "after the end")
		p.Stop(time.Second)
	}
}

func caseStop(t *testing.T, h Harness) {
	p := h.start(t, h.spec("polite"))
	AwaitLine(t, p, "ready")
	p.Stop(patience)
	if e := End(t, p); e.Cause != capsid.Stopped || e.Forced || e.Code != 7 || !e.Success() {
		t.Errorf("a polite cell: %+v", e)
	}
	p = h.start(t, h.spec("stubborn"))
	AwaitLine(t, p, "ready")
	p.Stop(20 * time.Millisecond)
	if e := End(t, p); e.Cause != capsid.Stopped || !e.Forced || e.Success() {
		t.Errorf("a stubborn cell: %+v", e)
	}
}

func caseEnvironment(t *testing.T, h Harness) {
	t.Setenv("CAPSIDTEST_SECRET", "of the node")
	s := h.spec("env")
	s.Env = append(s.Env, "A=1", "B=two words")
	e := h.RunOne(t, s)
	var got []string
	for _, l := range e.Tail {
		if l != "PWD=/" { // bubblewrap sets it
			got = append(got, l)
		}
	}
	if text := strings.Join(got, "\n"); text != "A=1\nB=two words\nCELL_NODE_FD=3" && text != "A=1\nB=two words" {
		t.Errorf("environment:\n%s", text)
	}
}

func caseSocket(t *testing.T, h Harness) {
	leak, err := os.Open("/dev/null") // as a careless node would leave it
	if err != nil {
		t.Fatal(err)
	}
	defer leak.Close()
	careless, err := unix.Dup(int(leak.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(careless)
	e := h.RunOne(t, h.spec("fds"))
	if got := strings.Join(e.Tail, " "); got != "fd 0 fd 1 fd 2 fd 3" {
		t.Errorf("inherited: %s", got)
	}
	p := h.start(t, h.spec("echo"))
	c := p.Socket()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	for _, word := range []string{"one", "another"} {
		if _, err := c.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(b); err != nil || string(b[:n]) != word {
			t.Errorf("echo of %q: %q, %v", word, b[:n], err)
		}
	}
	if p.PID() <= 0 || unix.Kill(p.PID(), 0) != nil {
		t.Errorf("no process %d", p.PID())
	}
	if u, err := p.Usage(); err != nil || u.Memory <= 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
	_ = c.Close() // the cell ends when its node has gone
	if e := End(t, p); e.Cause != capsid.Exited || e.Code != 0 {
		t.Errorf("%+v", e)
	}
}

type buffer struct {
	sync.Mutex
	strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Builder.Write(p)
}

func caseOutput(t *testing.T, h Harness) {
	var b buffer
	s := h.spec("flood", "100000")
	s.Output = &b
	e := h.RunOne(t, s)
	if n := b.Len(); n != 100000+len("flooded\n") || e.Usage.Output != int64(n) {
		t.Errorf("%d bytes passed on, %d counted", n, e.Usage.Output)
	}
	if len(e.Tail) != capsid.TailLines || e.Tail[len(e.Tail)-1] != "flooded" || len(e.Tail[0]) != 99 {
		t.Errorf("%d lines kept: %q", len(e.Tail), e.Tail)
	}
}

func caseOutputLimit(t *testing.T, h Harness) {
	s := h.spec("flood", "1000000000")
	s.Limits.Output = 200_000
	if e := h.RunOne(t, s); e.Cause != capsid.LimitReached || e.Limit != "output" || e.Usage.Output < 200_000 {
		t.Errorf("%+v", e)
	}
}

func caseOpenFiles(t *testing.T, h Harness) {
	s := h.spec("open")
	s.Limits.OpenFiles = 64
	e := h.RunOne(t, s)
	var n int
	if _, err := fmt.Sscanf(strings.Join(e.Tail, ""), "opened %d", &n); err != nil || n > 64 || n < 32 {
		t.Errorf("%q", e.Tail)
	}
}

func caseCPUTime(t *testing.T, h Harness) {
	s := h.spec("spin")
	s.Limits.CPUTime = time.Second
	e := h.RunOne(t, s)
	if e.Cause != capsid.LimitReached || e.Limit != "cpu time" {
		t.Errorf("%+v", e)
	}
	if used := e.Usage.User + e.Usage.System; used < 500*time.Millisecond || used > 30*time.Second { // a slow host counts in large steps
		t.Errorf("used %v", used)
	}
}

func caseChildren(t *testing.T, h Harness) {
	for _, role := range [][]string{{"parent", "end"}, {"parent"}} {
		p := h.start(t, h.spec(role...))
		AwaitLine(t, p, "bred 2")
		if len(role) == 1 {
			p.Kill(capsid.Killed, "with its children")
		}
		e := End(t, p)
		if want := map[bool]capsid.Cause{true: capsid.Killed, false: capsid.Exited}[len(role) == 1]; e.Cause != want {
			t.Errorf("%v: %+v", role, e)
		}
	}
}

func caseMissing(t *testing.T, h Harness) {
	s := h.spec()
	s.Command = []string{"/does/not/exist"}
	p, err := h.Backend.Start(t.Context(), s)
	if err == nil {
		End(t, p)
	}
	if !errors.Is(err, capsid.ErrStart) && !errors.Is(err, capsid.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if err != nil && !strings.Contains(strings.ToLower(err.Error()), "no such file") {
		t.Errorf("does not say why: %v", err)
	}
}

func caseSpec(t *testing.T, h Harness) {
	for name, change := range map[string]func(*capsid.Spec){
		"no name":               func(s *capsid.Spec) { s.Name = "" },
		"a name with a slash":   func(s *capsid.Spec) { s.Name = "../x" },
		"no command":            func(s *capsid.Spec) { s.Command = nil },
		"a relative command":    func(s *capsid.Spec) { s.Command = []string{"sh"} },
		"a zero byte":           func(s *capsid.Spec) { s.Command = append(s.Command, "a\x00b") },
		"no environment":        func(s *capsid.Spec) { s.Env = []string{"X"} },
		"the node's variable":   func(s *capsid.Spec) { s.Env = []string{"CELL_NODE_FD=1"} },
		"the whole host":        func(s *capsid.Spec) { s.Files.ReadOnly = []string{"/"} },
		"a path with dots":      func(s *capsid.Spec) { s.Files.ReadWrite = []string{"/tmp/../etc"} },
		"a negative limit":      func(s *capsid.Spec) { s.Limits.Memory = -1 },
		"too little memory":     func(s *capsid.Spec) { s.Limits.Memory = 1 },
		"an unknown filter":     func(s *capsid.Spec) { s.Seccomp = "none" },
		"a relative folder":     func(s *capsid.Spec) { s.Dir = "tmp" },
		"too many arguments":    func(s *capsid.Spec) { s.Command = append(s.Command, make([]string, 5000)...) },
		"too long an argument":  func(s *capsid.Spec) { s.Command = append(s.Command, strings.Repeat("x", 1<<20)) },
		"an impossible quota":   func(s *capsid.Spec) { s.Limits.CPU = 0.0001 },
		"a fraction of seconds": func(s *capsid.Spec) { s.Limits.CPUTime = time.Millisecond },
	} {
		s := h.spec("exit", "0")
		change(&s)
		if p, err := h.Backend.Start(t.Context(), s); !errors.Is(err, capsid.ErrSpec) {
			t.Errorf("%s: %v", name, err)
			if err == nil {
				End(t, p)
			}
		}
	}
}

func caseContext(t *testing.T, h Harness) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p, err := h.Backend.Start(ctx, h.spec("sleep"))
	if err == nil {
		p.Kill(capsid.Killed, "it must not run")
		End(t, p)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func caseMemory(t *testing.T, h Harness) {
	s := h.spec("memory", fmt.Sprint(256<<20))
	s.Limits.Memory = 48 << 20
	// Processes that are being killed get some memory beyond the limit to end with.
	if e := h.RunOne(t, s); e.Cause != capsid.OutOfMemory || e.Limit != "memory" || e.Usage.PeakMemory > 60<<20 {
		t.Errorf("%+v", e)
	}
	s = h.spec("memory", fmt.Sprint(8<<20))
	s.Limits.Memory = 64 << 20
	if e := h.RunOne(t, s); !e.Success() {
		t.Errorf("within its limit: %+v", e)
	}
}

func caseProcesses(t *testing.T, h Harness) {
	s := h.spec("breed", "200")
	s.Limits.Processes = 40
	e := h.RunOne(t, s)
	if text := strings.Join(e.Tail, "\n"); strings.Contains(text, "bred 200") {
		t.Errorf("%+v", e)
	}
	if e.Usage.ProcessLimit == 0 {
		t.Errorf("no refusal was counted: %+v", e)
	}
}

func caseMany(t *testing.T, h Harness) {
	n := 40
	if testing.Short() {
		n = 8
	}
	errs := make(chan error, n)
	for i := range n {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			p, err := h.Backend.Start(ctx, h.spec("exit", fmt.Sprint(i)))
			if err != nil {
				errs <- err
				return
			}
			e, err := p.Wait(ctx)
			if err == nil && (e.Cause != capsid.Exited || e.Code != i) {
				err = fmt.Errorf("cell %d: %+v", i, e)
			}
			if c := p.Socket(); c != nil {
				err = errors.Join(err, c.Close())
			}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

var _ io.Writer = (*buffer)(nil)
