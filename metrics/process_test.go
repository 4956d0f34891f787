package metrics

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childEnv, set in a re-executed test binary, makes it play one side.
const childEnv = "CELL_METRICS_TEST_CHILD"

func TestMain(m *testing.M) {
	role, path, _ := strings.Cut(os.Getenv(childEnv), "=")
	var err error
	switch role {
	case "write":
		err = childWriter(path)
	case "read":
		err = childReader(path)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

// childWriter creates the file and writes until it is killed or its stdin
// ends.
func childWriter(path string) error {
	f, err := Create(path, Options{})
	if err != nil {
		return err
	}
	c := must(f.Counter("c_total", "", ""))
	h := must(f.Histogram("h", "", "ns", HistogramOptions{}))
	done := make(chan struct{})
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		close(done)
	}()
	fmt.Println("ready")
	for i := int64(0); ; i++ {
		h.Record(i & 0xffff)
		c.Inc()
		if i&0xfff == 0 {
			select {
			case <-done:
				return f.Close()
			default:
			}
		}
	}
}

// childReader reads until the counter has reached 100,000 and checks that
// nothing runs backwards.
func childReader(path string) error {
	r, err := Open(path)
	if err != nil {
		return err
	}
	var last *Snapshot
	for {
		s, err := r.Snapshot()
		if err != nil {
			return err
		}
		if len(s.Samples) != 2 {
			continue // not registered yet
		}
		if last != nil {
			delta, err := s.Sub(last)
			if err != nil {
				return err
			}
			if n := delta.Samples[0].Counter; n > 1<<40 {
				return fmt.Errorf("the counter fell by %d", -n)
			}
		}
		last = s
		d := s.Samples[1].Histogram
		if d.Count() > 0 && (d.Min() != 0 || d.Percentile(100) < d.Max()) {
			return fmt.Errorf("incoherent: %+v", d.Summary())
		}
		if s.Samples[0].Counter >= 100_000 && d.Count() >= 99_000 {
			fmt.Println("ok")
			return r.Close()
		}
	}
}

// child is a re-executed test binary. It ends when its stdin does.
type child struct {
	*exec.Cmd
	stdin io.Closer
}

// start re-executes the test binary in a role.
func start(t *testing.T, role, path string) (child, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(must(os.Executable()))
	cmd.Env = append(os.Environ(), childEnv+"="+role+"="+path)
	cmd.Stderr = os.Stderr
	stdin := must(cmd.StdinPipe())
	out := bufio.NewReader(must(cmd.StdoutPipe()))
	if err := cmd.Start(); errors.Is(err, unix.ENOEXEC) {
		t.Skip("needs to start itself again, which an emulated binary can't without binfmt_misc")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return child{cmd, stdin}, out
}

func expect(t *testing.T, out *bufio.Reader, want string) {
	t.Helper()
	if line, err := out.ReadString('\n'); strings.TrimSpace(line) != want {
		t.Fatalf("the child said %q (%v), want %q", line, err, want)
	}
}

func TestSecondProcessReadsWhileThisOneWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	f := create(t, path, Options{})
	_, out := start(t, "read", path)
	c := must(f.Counter("c_total", "", ""))
	h := must(f.Histogram("h", "", "ns", HistogramOptions{}))
	said := make(chan string, 1)
	go func() {
		line, _ := out.ReadString('\n')
		said <- line
	}()
	deadline := time.After(30 * time.Second)
	for i := int64(0); ; i++ {
		h.Record(i & 0xffff)
		c.Inc()
		if i&0xff != 0 {
			continue
		}
		select {
		case line := <-said:
			if strings.TrimSpace(line) != "ok" {
				t.Fatalf("the reader said %q", line)
			}
			return
		case <-deadline:
			t.Fatal("the reader never saw 100,000")
		default:
		}
	}
}

func TestKilledWriterLeavesItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	cmd, out := start(t, "write", path)
	expect(t, out, "ready")
	r := open(t, path)
	if !r.WriterAlive() || r.PID() != cmd.Process.Pid {
		t.Errorf("writer %d, alive %v; it is %d", r.PID(), r.WriterAlive(), cmd.Process.Pid)
	}
	if _, err := Create(path, Options{}); !errors.Is(err, ErrBusy) {
		t.Errorf("taking a live writer's file: %v, want ErrBusy", err)
	}
	var before *Snapshot
	for before == nil || before.Samples[0].Counter < 10_000 {
		before = must(r.Snapshot())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Dead but not reaped: the PID still exists, as a zombie.
	for i := 0; r.WriterAlive(); i++ {
		if i == 2000 {
			t.Fatal("a killed writer counts as alive")
		}
		time.Sleep(time.Millisecond)
	}
	_ = cmd.Wait()
	after := must(open(t, path).Snapshot())
	if after.State != StateLive {
		t.Errorf("state %v", after.State)
	}
	if _, err := after.Sub(before); err != nil {
		t.Error(err)
	}
	// The writer died anywhere between the two stores of a round.
	n, d := after.Samples[0].Counter, after.Samples[1].Histogram
	if d.Count() != n && d.Count() != n+1 {
		t.Errorf("counter %d, histogram %d", n, d.Count())
	}
	f := create(t, path, Options{})
	if s := must(f.Snapshot()); len(s.Samples) != 0 {
		t.Error("the new file has old instruments")
	}
	if s := must(r.Snapshot()); s.Samples[0].Counter != n {
		t.Error("the reader lost the old file")
	}
}

func TestWriterClosesInOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	cmd, out := start(t, "write", path)
	expect(t, out, "ready")
	_ = cmd.stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	r := open(t, path)
	if s := must(r.Snapshot()); s.State != StateClosed || r.WriterAlive() {
		t.Errorf("state %v, alive %v", s.State, r.WriterAlive())
	}
}

func TestProcessAlive(t *testing.T) {
	self := must(thisProcess())
	other := self
	other.start++
	boot := self
	boot.boot[3]++
	for name, c := range map[string]struct {
		p    process
		want bool
	}{
		"this one":          {self, true},
		"a reused PID":      {other, false},
		"before the reboot": {boot, false},
		"none":              {process{}, false},
		"negative":          {process{pid: -1}, false},
		"beyond any PID":    {process{pid: 1 << 30, boot: self.boot}, false},
	} {
		if got := c.p.alive(); got != c.want {
			t.Errorf("%s: alive %v", name, got)
		}
	}
}
