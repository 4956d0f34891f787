package capsid_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/capsid/capsidtest"
)

// hostOf makes what the probes try to reach. Without walls all of it can be
// reached, which another test makes sure of.
func hostOf(t testing.TB) capsidtest.Host {
	t.Helper()
	t.Setenv("PROBE_SECRET", "of the node")
	dir, err := os.MkdirTemp("/var/tmp", "capsid") // /tmp is the cell's own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := capsidtest.Host{
		Secret: filepath.Join(dir, "secret"), Folder: filepath.Join(dir, "open"), Socket: filepath.Join(dir, "x.sock"),
		Abstract: fmt.Sprintf("capsid-test-%d", os.Getpid()), PID: os.Getpid(),
	}
	for _, err := range []error{os.Chmod(dir, 0o755), os.WriteFile(h.Secret, []byte("x"), 0o644), os.Mkdir(h.Folder, 0o777), os.Chmod(h.Folder, 0o777)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for network, address := range map[string]string{"unix": h.Socket, "unix ": "@" + h.Abstract, "tcp": "127.0.0.1:0"} {
		l, err := net.Listen(strings.TrimSpace(network), address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		if network == "tcp" {
			h.TCP = l.Addr().String()
		}
	}
	if err := os.Chmod(h.Socket, 0o666); err != nil {
		t.Fatal(err)
	}
	return h
}

type lines struct {
	sync.Mutex
	strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.Builder.Write(b)
}

// probe runs all probes in a cell and returns its lines.
func probe(t testing.TB, b capsid.Backend, s capsid.Spec) []string {
	t.Helper()
	var out lines
	s.Name, s.Command, s.Output = "probe", capsidtest.Command(hostOf(t).Arguments()...), &out
	p, err := b.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if e := capsidtest.End(t, p); !e.Success() {
		t.Errorf("the cell that probes: %v", e)
	}
	all := strings.Split(strings.TrimSpace(out.String()), "\n")
	if all[len(all)-1] != "probed" {
		t.Fatalf("it did not come to an end: %q", all)
	}
	return all[:len(all)-1]
}

func TestNothingIsOpenInBwrap(t *testing.T) { nothingIsOpen(t, needBwrap(t)) }

func nothingIsOpen(t *testing.T, b capsid.Backend) {
	for name, change := range map[string]func(*capsid.Spec){
		"by default":   func(*capsid.Spec) {},
		"strict":       func(s *capsid.Spec) { s.Seccomp = "strict" },
		"with /proc":   func(s *capsid.Spec) { s.Files.Proc = true },
		"with /usr":    func(s *capsid.Spec) { s.Files.System = true },
		"with a group": func(s *capsid.Spec) { s.Limits.Processes = 64; s.Limits.Missing = capsid.Rlimits },
	} {
		t.Run(name, func(t *testing.T) {
			s := base()
			change(&s)
			for _, l := range probe(t, b, s) {
				if strings.HasPrefix(l, "OPEN") && !(s.Files.Proc && strings.Contains(l, "first one's environment")) {
					t.Error(l)
				}
			}
		})
	}
}

// Without walls most probes find an open way: they can tell. Not as root, since
// they would change the host.
func TestProbesTellWhatIsOpen(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t, "TestProbesTellWhatIsOpen")
		return
	}
	ways, held := 0, 0
	for _, l := range probe(t, open(t, "none"), capsid.Spec{}) {
		if strings.HasPrefix(l, "OPEN") {
			ways++
		} else {
			held++
		}
	}
	if ways < 25 {
		t.Errorf("%d open, %d held: the probes prove little", ways, held)
	}
}

// asNobody runs tests of this binary as an ordinary user.
func asNobody(t *testing.T, pattern string) {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "capsid")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "capsid.test")
	text, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(program, text, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run", "^("+pattern+")$", "-test.timeout=120s")
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "TMPDIR=/var/tmp"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 64999, Gid: 64999}}
	if said, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(said), "PASS") {
		t.Errorf("as an ordinary user: %v\n%s", err, said)
	}
}

// An ordinary user's node has bubblewrap, too, by a user namespace.
func TestBwrapForAnOrdinaryUser(t *testing.T) {
	needRoot(t)
	needBwrap(t)
	asNobody(t, "TestBwrapConforms|TestNothingIsOpenInBwrap")
}

func TestBombsAreContained(t *testing.T) {
	needRoot(t)
	b := needBwrap(t)
	h := capsidtest.Harness{Backend: b}
	run := func(s capsid.Spec, role ...string) capsid.Exit {
		t.Helper()
		s.Files.System = base().Files.System
		s.Name, s.Command = "bomb", capsidtest.Command(role...)
		return h.RunOne(t, s)
	}
	limits := capsid.Limits{Memory: 64 << 20, Processes: 48, CPU: 0.2}
	e := run(capsid.Spec{Limits: limits}, "forkbomb")
	if e.Usage.ProcessLimit == 0 && e.Usage.OutOfMemory == 0 {
		t.Errorf("fork bomb: %+v", e)
	}
	if e = run(capsid.Spec{Limits: limits}, "memory", fmt.Sprint(1<<30)); e.Cause != capsid.OutOfMemory {
		t.Errorf("memory bomb: %+v", e)
	}
	e = run(capsid.Spec{Files: capsid.Files{TmpSize: 1 << 20}}, "grow", "/tmp/x", fmt.Sprint(64<<20))
	if len(e.Tail) != 1 || !strings.HasPrefix(e.Tail[0], "full at") {
		t.Errorf("filling /tmp: %+v", e)
	}
	e = run(capsid.Spec{Limits: capsid.Limits{Memory: 32 << 20}, Files: capsid.Files{TmpSize: 1 << 30}}, "grow", "/tmp/x", fmt.Sprint(256<<20))
	if e.Cause != capsid.OutOfMemory {
		t.Errorf("memory by way of /tmp: %+v", e)
	}
	if e = run(capsid.Spec{Limits: capsid.Limits{FileSize: 1 << 20}}, "grow", "/tmp/x", fmt.Sprint(8<<20)); !strings.HasPrefix(strings.Join(e.Tail, ""), "full at 1048576") {
		t.Errorf("a large file: %+v", e)
	}
	s := capsid.Spec{Name: "hog", Command: capsidtest.Command("spin"), Files: base().Files, Limits: limits}
	p, err := b.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	capsidtest.AwaitLine(t, p, "ready")
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if u, _ := p.Usage(); u.Throttled > 0 {
			break
		}
		if time.Now().After(until) {
			t.Error("a hog is never held back")
			break
		}
	}
	p.Kill(capsid.Killed, "enough")
	capsidtest.End(t, p)
}

// The killed node: a process that starts cells and is killed in the middle.
func TestAKilledNodeLeavesNothing(t *testing.T) {
	for _, name := range []string{"none", "bwrap"} {
		t.Run(name, func(t *testing.T) {
			if name == "bwrap" {
				needBwrap(t)
			}
			var killed []int // others of this host leave what is theirs to sweep
			for i := range 3 {
				node := exec.Command(capsidtest.Command()[0], capsidtest.Command("node", name)[1:]...)
				out, err := node.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := node.Start(); err != nil {
					t.Fatal(err)
				}
				line := make([]byte, 64)
				if n, err := out.Read(line); err != nil || !strings.HasPrefix(string(line[:n]), "started") {
					t.Fatalf("%q, %v", line[:n], err)
				}
				time.Sleep(time.Duration(i) * 3 * time.Millisecond)
				_ = node.Process.Signal(syscall.SIGKILL)
				_ = node.Wait()
				killed = append(killed, node.Process.Pid)
			}
			for until := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				left := capsidtest.Cells()
				if len(left) == 0 {
					break
				}
				if time.Now().After(until) {
					t.Fatalf("left behind: %v", left)
				}
			}
			capsid.Sweep() // as the next node does
			found, _ := filepath.Glob("/sys/fs/cgroup/*/cell-node.*")
			more, _ := filepath.Glob("/sys/fs/cgroup/*/*/*/cell-node.*")
			for _, dir := range append(found, more...) {
				var pid int
				if _, err := fmt.Sscanf(filepath.Base(dir), "cell-node.%d.", &pid); err == nil && slices.Contains(killed, pid) {
					t.Errorf("left behind: %s", dir)
				}
			}
		})
	}
}

func init() {
	capsidtest.Roles["node"] = roleNode
	capsidtest.Roles["forkbomb"] = func([]string) {
		for range 400 {
			cmd := exec.Command(os.Args[0], os.Args[1:]...)
			_ = cmd.Start()
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// roleNode starts cells without end.
func roleNode(args []string) {
	b, err := capsid.Open(args[0])
	if err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		var s capsid.Spec
		if args[0] != "none" {
			s = base()
		}
		s.Name, s.Command = "kid", capsidtest.Command("sleep")
		if os.Geteuid() == 0 {
			s.Limits.Processes = 64
		}
		_, err := b.Start(context.Background(), s)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		if i == 2 {
			fmt.Println("started")
		}
		if i > 20 {
			select {}
		}
	}
}
