//go:build !nodragonboat && !s390x

package dragonboat

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sys/unix"
)

// fault is something bad that happens to member i, or to it and j, for a while.
type fault struct {
	name string
	do   func(p *processes, i, j int, while time.Duration)
}

// usualFaults need no privileges.
var usualFaults = []fault{
	{"kill -9 of one", killOne},
	{"kill -9 of two", killTwo},
	{"SIGSTOP", stopOne},
	{"one-way partition", func(p *processes, i, j int, while time.Duration) { // one direction of one pair
		p.wires[[2]int{i, j}].blocked.Store(true)
		time.Sleep(while)
		p.wires[[2]int{i, j}].blocked.Store(false)
	}},
	{"partition", cutOff},
	{"clock jump", jumpClock},
	{"disk that takes nothing", failWrites},
}

func killOne(p *processes, i, _ int, while time.Duration) {
	p.members[i].kill()
	time.Sleep(while / 2)
	p.members[i].start()
}

func killTwo(p *processes, i, _ int, while time.Duration) {
	p.members[i].kill()
	p.members[(i+1)%3].kill()
	p.members[i].start()
	time.Sleep(while / 2)
	p.members[(i+1)%3].start()
}

func stopOne(p *processes, i, _ int, while time.Duration) {
	p.members[i].signal(syscall.SIGSTOP)
	time.Sleep(while)
	p.members[i].signal(syscall.SIGCONT)
}

func cutOff(p *processes, i, _ int, while time.Duration) {
	for k := range 3 {
		p.wires[[2]int{i, k}].blocked.Store(true)
		p.wires[[2]int{k, i}].blocked.Store(true)
	}
	time.Sleep(while)
	for k := range 3 {
		p.wires[[2]int{i, k}].blocked.Store(false)
		p.wires[[2]int{k, i}].blocked.Store(false)
	}
}

// jumpClock sets a member's wall clock to an hour ahead, or behind, or right.
func jumpClock(p *processes, i, j int, while time.Duration) {
	p.members[i].jump(time.Duration(j-1) * time.Hour)
	time.Sleep(while / 4)
}

// failWrites lets every write of a member fail, as a disk does that is full or
// broken: Raft ends its process, which is started again.
func failWrites(p *processes, i, _ int, while time.Duration) {
	m := p.members[i]
	m.mu.Lock()
	cmd := m.cmd
	m.mu.Unlock()
	if cmd != nil {
		_ = unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 0, Max: unix.RLIM_INFINITY}, nil)
	}
	m.ends(while) // or not: a follower that is cut off writes nothing
	m.kill()
	m.start()
}

const spaceEnv = "CELL_RAFT_NAMESPACES" // this process has namespaces of its own

// inNamespaces runs the test again, in a process with mounts and a network of
// its own, which go when it ends, however it does. It reports whether this is
// that process.
func inNamespaces(t *testing.T) bool {
	if os.Getenv(spaceEnv) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("it takes root to make namespaces")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run", "^"+t.Name()+"$", "-test.v", fmt.Sprintf("-test.short=%v", testing.Short()))
	cmd.Env = append(os.Environ(), spaceEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, fs.ErrPermission) {
		t.Skip("no namespaces here: ", err)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skip(string(out))
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Log(string(out))
	return false
}

// TestAFullDisk: each member's directory is on a disk of its own, a small one,
// which fills up. The member's process ends; when there is room again it is
// started, and nothing that was acknowledged is lost.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	if !inNamespaces(t) {
		return
	}
	up(t) // of loopback
	disks := t.TempDir()
	var ended atomic.Int64
	full := fault{"full disk", func(p *processes, i, _ int, while time.Duration) {
		m, ballast := p.members[i], filepath.Join(disks, fmt.Sprint(i), "ballast")
		fill(t, ballast)
		// The log has some room that it took before: that is used up first.
		for n := 0; n < 64 && !m.ends(10*time.Millisecond); n++ {
			p.members[n%3].do(call{write: true, value: 256 << 10}, bulkKey)
		}
		if m.ends(while) {
			ended.Add(1)
		}
		m.kill()
		m.start() // on a full disk
		m.ends(while)
		m.kill()
		if err := os.Remove(ballast); err != nil {
			t.Error(err)
		}
		m.start()
	}}
	s := setup{tune: func(i int, c *memberConfig) {
		disk := filepath.Join(disks, fmt.Sprint(i))
		if err := os.Mkdir(disk, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=128m"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
		c.Dir = filepath.Join(disk, "data")
	}}
	h, gap := torture(t, namespaceTorture(), s, []fault{full}, 5, func() bool { return ended.Load() > 0 })
	t.Logf("longest time between two acknowledged writes: %v", gap.Round(time.Millisecond))
	if ended.Load() == 0 {
		t.Error("no member has noticed that its disk is full")
	}
	if verdict := h.judge(judging); verdict != porcupine.Ok || h.known < enough {
		t.Errorf("the history is %v, with %d answers", verdict, h.known)
	}
}

func namespaceTorture() time.Duration {
	if testing.Short() {
		return 4 * time.Second
	}
	return 12 * time.Second
}

// fill writes a file until its disk is full.
func fill(t *testing.T, name string) {
	f, err := os.Create(name)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	for b := make([]byte, 1<<20); len(b) > 0; {
		if _, err := f.Write(b); err != nil {
			b = b[:len(b)/2] // the last bytes, too
		}
	}
}

// up brings a new network namespace's loopback up.
func up(t *testing.T) { ip(t, "link set lo up") }

// ip runs ip(8).
func ip(t *testing.T, args string) {
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			t.Skip("there is no ip(8): install iproute2")
		}
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// TestPartitionsBetweenHosts: each member is a host of its own, a network
// namespace, joined by a bridge. Packets are lost from one to the other in one
// direction, or in both: no connection is closed, and nothing is confirmed.
func TestPartitionsBetweenHosts(t *testing.T) {
	t.Parallel()
	if !inNamespaces(t) {
		return
	}
	up(t)
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", "/run/netns", "tmpfs", 0, "size=1m"); err != nil { // names of our own
		t.Fatal(err)
	}
	ip(t, "link add bridge type bridge")
	ip(t, "link set bridge up")
	addr := func(i int) string { return fmt.Sprintf("10.99.0.%d", i+1) }
	for i := range 3 {
		ip(t, fmt.Sprintf("netns add m%d", i))
		ip(t, fmt.Sprintf("link add v%d type veth peer name eth netns m%d", i, i))
		ip(t, fmt.Sprintf("link set v%d master bridge up", i))
		for _, args := range []string{"link set lo up", "addr add " + addr(i) + "/24 dev eth", "link set eth up"} {
			ip(t, fmt.Sprintf("-n m%d %s", i, args))
		}
	}
	oneWay := func(_ *processes, i, j int, while time.Duration) {
		if i == j {
			j = (i + 1) % 3
		}
		ip(t, fmt.Sprintf("-n m%d route add blackhole %s/32", i, addr(j)))
		time.Sleep(while)
		ip(t, fmt.Sprintf("-n m%d route del blackhole %s/32", i, addr(j)))
	}
	allWays := func(_ *processes, i, _ int, while time.Duration) {
		ip(t, fmt.Sprintf("link set v%d down", i))
		time.Sleep(while)
		ip(t, fmt.Sprintf("link set v%d up", i))
	}
	s := setup{
		tune:   func(_ int, c *memberConfig) { c.Direct = true },
		listen: func(i int) string { return addr(i) + ":4747" },
		prefix: func(i int) []string { return []string{"ip", "netns", "exec", fmt.Sprintf("m%d", i)} },
	}
	faults := []fault{{"packets lost one way", oneWay}, {"cable out", allWays}, {"kill -9 of one", killOne}}
	h, gap := torture(t, namespaceTorture(), s, faults, 3, nil)
	t.Logf("longest time between two acknowledged writes: %v", gap.Round(time.Millisecond))
	if verdict := h.judge(judging); verdict != porcupine.Ok || h.known < enough {
		t.Errorf("the history is %v, with %d answers", verdict, h.known)
	}
}
