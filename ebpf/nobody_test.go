package ebpf

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const envNobody = "CELL_EBPF_TEST_NOBODY"

// TestNobody is no test: it is the process without root that
// TestWithoutRoot starts.
func TestNobody(t *testing.T) {
	want := os.Getenv(envNobody)
	if want == "" {
		t.Skip("the child of TestWithoutRoot")
	}
	if os.Geteuid() != 65534 {
		t.Fatalf("runs as %d", os.Geteuid())
	}
	i, err := net.InterfaceByName("veth0")
	if err != nil {
		t.Fatal(err)
	}
	r, err := LoadRedirect(testPort)
	if want != "works" {
		_, second := LoadPheromone(testRules)
		_, third := LoadSteer()
		for _, err := range []error{err, second, third} {
			if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), want+":") {
				t.Errorf("%v; wanted that %s is missing", err, want)
			}
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	// 6.1's verifier wants CAP_PERFMON for steer, and says so; the rest is tested
	// there, too.
	s, err := LoadSteer()
	switch {
	case err == nil:
		defer s.Close()
	case errors.Is(err, ErrNotSupported) && strings.Contains(err.Error(), "CAP_PERFMON"):
		t.Log(err)
	default:
		t.Error(err)
	}
	p, err := LoadPheromone(testRules)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := r.Attach(i.Index, ModeDriver); err != nil {
		t.Error(err)
	}
	if err := p.Attach(i.Index, ModeAuto); err != nil && !errors.Is(err, ErrNotSupported) {
		t.Error(err)
	}
	if _, err := p.Stats(); err != nil {
		t.Error(err)
	}
	all, err := List(t.TempDir(), i.Index)
	if err != nil || len(all) == 0 || all[0].ID == 0 {
		t.Errorf("%+v, %v", all, err)
	}
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := r.SetSocket(0, fd); err != nil {
		t.Error(err)
	}
}

// Three capabilities are enough for everything; without one of those that are
// needed, that one is named.
func TestWithoutRoot(t *testing.T) {
	loaded(t, true) // skips where nothing can be loaded
	for _, v := range []struct {
		name, want string
		caps       []uintptr
	}{
		{"CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW", "works", []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW}},
		{"without CAP_BPF", "CAP_BPF", []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW}},
		{"without CAP_NET_ADMIN", "CAP_NET_ADMIN", []uintptr{unix.CAP_BPF, unix.CAP_NET_RAW}},
		{"none", "CAP_BPF", nil},
	} {
		t.Run(v.name, func(t *testing.T) {
			inNamespace(t, func(t *testing.T, _ int) {
				// By this name, for the directory may be closed to others.
				child := exec.Command("/proc/self/exe", "-test.run=^TestNobody$")
				child.Dir = "/"
				child.Env = append(os.Environ(), envNobody+"="+v.want, "TMPDIR=/tmp", "HOME=/")
				child.SysProcAttr = &syscall.SysProcAttr{
					Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: v.caps, Pdeathsig: syscall.SIGKILL,
				}
				if out, err := child.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		})
	}
}
