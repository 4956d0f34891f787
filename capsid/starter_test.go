package capsid

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// program is the path of one that every host has.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(name + " is not installed")
	}
	return path
}

// starters are the processes that start cells for this one.
func starters() (all []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if st, err := readStat(pid); err == nil && st.ppid == os.Getpid() && string(line) == "starter\x00" {
			all = append(all, pid)
		}
	}
	return all
}

func TestAStarterThatIsKilledIsReplaced(t *testing.T) {
	s := Spec{Name: "x", Command: []string{program(t, "true")}}
	run := func() {
		t.Helper()
		p, err := none{}.Start(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Socket().Close()
		if e, err := p.Wait(t.Context()); err != nil || !e.Success() {
			t.Errorf("%v, %v", e, err)
		}
	}
	for range 2 * spawnThreads { // each thread has one by then
		run()
	}
	before := starters()
	if len(before) == 0 {
		t.Fatal("there is none")
	}
	for _, pid := range before {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	for until := time.Now().Add(10 * time.Second); len(starters()) > 0 && time.Now().Before(until); time.Sleep(time.Millisecond) {
	}
	for range 2 * spawnThreads {
		run()
	}
}

func TestWhatAStarterCanNotDo(t *testing.T) {
	text := t.TempDir() + "/text"
	if err := os.WriteFile(text, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		s    Spec
		want error
		word string
	}{
		{"a directory that is not there", Spec{Command: []string{program(t, "true")}, Dir: "/there/is/none"}, unix.ENOENT, "changing to its directory"},
		{"a program that is not there", Spec{Command: []string{"/there/is/none"}}, unix.ENOENT, "executing the program"},
		{"a file that is no program", Spec{Command: []string{text}}, unix.ENOEXEC, "executing the program"},
		{"arguments as long as they may be", Spec{Command: append([]string{program(t, "true")}, strings.Repeat("x", 100<<10))}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.s.Name = "x"
			p, err := none{}.Start(t.Context(), c.s)
			if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.word) {
				t.Errorf("%v, want %v in %q", err, c.want, c.word)
			}
			if err == nil {
				_, _ = p.Wait(t.Context())
				p.Socket().Close()
			}
		})
	}
}

// What makes the walls is behind others as well, not only what it leads to.
func TestACellInTheBackgroundIsThereFromItsFirstMoment(t *testing.T) {
	l := launch{config: shimConfig{flags: shimBehind | shimUID}}
	if got := l.makeWalls().walls.flags; got&shimBehind == 0 || got&shimUID != 0 {
		t.Errorf("what makes walls begins with flags %#x", got)
	}
	s := Spec{Name: "x", Command: []string{program(t, "sleep"), "60"}}
	s.Limits.Background = true
	p, err := none{}.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Socket().Close()
	if a, err := unix.SchedGetAttr(p.PID(), 0); err != nil || a.Policy != unix.SCHED_IDLE {
		t.Errorf("%+v, %v", a, err)
	}
	p.Kill(Killed, "the test is over")
	_, _ = p.Wait(t.Context())
}
