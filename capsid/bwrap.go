package capsid

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cell-runtime/cell/sched"
)

func init() { Register("bwrap", func() (Backend, error) { return NewBwrap("") }) }

// Bwrap runs cells in bubblewrap: namespaces of their own, of the host's files
// only what the Spec names, and inside, by way of the shim, a user, Landlock and
// a filter of system calls.
type Bwrap struct {
	path string // "" is looked for
	root bool   // cells get users of their own
	abi  int
}

// NewBwrap returns the backend that runs the bubblewrap at path; "" looks for
// bwrap in PATH.
func NewBwrap(path string) (*Bwrap, error) {
	if path != "" && !filepath.IsAbs(path) {
		return nil, fmt.Errorf("%w: path of bwrap %q is not absolute", ErrSpec, path)
	}
	return &Bwrap{path: path, root: os.Geteuid() == 0, abi: landlockABI()}, nil
}

// Name implements Backend.
func (*Bwrap) Name() string { return "bwrap" }

// program finds bubblewrap.
func (b *Bwrap) program() (string, error) {
	path := b.path
	if path == "" {
		var err error
		if path, err = exec.LookPath("bwrap"); err != nil {
			return "", mend("apt install bubblewrap, or dnf install bubblewrap", "%w: bubblewrap is not installed (%w)", ErrUnavailable, err)
		}
	}
	return path, trusted(path, "apt install bubblewrap, or dnf install bubblewrap", b.root)
}

// Start implements Backend.
func (b *Bwrap) Start(ctx context.Context, s Spec) (Process, error) {
	s, err := s.Settle()
	if err != nil {
		return nil, err
	}
	if err := checkLoader(s); err != nil {
		return nil, err
	}
	if err := checkWalled(s); err != nil {
		return nil, err
	}
	path, err := b.program()
	if err != nil {
		return nil, err
	}
	l := &launch{spec: s, unprivileged: !b.root, uid: uint32(os.Geteuid())}
	if err := innerWalls(l, b.root, b.abi); err != nil {
		return nil, err
	}
	// Descriptors count from 3; the control groups' come before the shim's.
	l.walls = b.arguments(l, path, nodeFD+2+len(l.group.files()))
	return l.start(ctx)
}

// loaderKeys are variables by which the dynamic linker and the C library load
// code or read files; LD_ stands for all that begin so. bubblewrap hands its
// own environment on, so they would act on it, outside the walls.
var loaderKeys = []string{"GLIBC_TUNABLES", "GCONV_PATH", "LOCPATH", "LOCALDOMAIN", "RES_OPTIONS", "HOSTALIASES", "NLSPATH", "MALLOC_TRACE", "MALLOC_CHECK_"}

func checkLoader(s Spec) error {
	for _, e := range s.Env {
		key, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(key, "LD_") || slices.Contains(loaderKeys, key) {
			return fmt.Errorf("%w: environment of %s: %s would act on bubblewrap itself, outside the walls and as the node's user; have the program set it, or link it in", ErrSpec, s.Name, key)
		}
	}
	return nil
}

// innerUID is what an unprivileged node's cells see themselves as.
const innerUID = "65534"

// arguments is the command line of the bubblewrap at path. shimFD is where it finds
// the shim.
func (b *Bwrap) arguments(l *launch, path string, shimFD int) []string {
	s := l.spec
	a := []string{path,
		"--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try",
		"--hostname", "cell", "--new-session", "--die-with-parent", "--cap-drop", "ALL"}
	if b.root {
		// For the shim, to become another user and to empty the bounding set.
		a = append(a, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP")
	} else {
		a = append(a, "--unshare-user", "--uid", innerUID, "--gid", innerUID)
	}
	if s.Files.System {
		a = append(a, systemArguments()...)
	}
	if s.Files.Proc {
		a = append(a, "--proc", "/proc", "--tmpfs", "/proc/sys", "--remount-ro", "/proc/sys")
	}
	if s.Files.TmpSize > 0 {
		a = append(a, "--perms", "1777", "--size", strconv.FormatInt(s.Files.TmpSize, 10), "--tmpfs", "/tmp")
	}
	var binds []bind
	for _, d := range devices {
		binds = append(binds, bind{"--dev-bind", d})
	}
	for _, p := range s.Files.ReadOnly {
		binds = append(binds, bind{"--ro-bind", p})
	}
	for _, p := range s.Files.ReadWrite {
		binds = append(binds, bind{"--bind", p})
	}
	if s.Command[0] != shimPath && !covered(s.Command[0], s.Files) {
		binds = append(binds, bind{"--ro-bind", s.Command[0]})
	}
	a = append(a, bindArguments(binds)...)
	a = append(a, "--perms", "0555", "--ro-bind-data", strconv.Itoa(shimFD), shimPath, "--remount-ro", "/", "--chdir", s.Dir, "--", shimPath)
	return append(a, s.Command...)
}

type bind struct{ how, path string }

// bindArguments binds paths, outer ones first, and makes the folders above
// them, which bubblewrap by itself would make for root alone.
func bindArguments(binds []bind) (a []string) {
	slices.SortStableFunc(binds, func(x, y bind) int { return strings.Compare(x.path, y.path) })
	made := map[string]bool{"/": true, "/tmp": true}
	for _, b := range binds {
		var above []string
		for d := filepath.Dir(b.path); !made[d]; d = filepath.Dir(d) {
			above = append(above, d)
			made[d] = true
		}
		slices.Reverse(above)
		for _, d := range above {
			a = append(a, "--dir", d)
		}
		a = append(a, b.how, b.path, b.path)
		made[b.path] = true
	}
	return a
}

func systemArguments() (a []string) {
	for _, p := range system {
		st, err := os.Lstat(p)
		switch {
		case err != nil:
		case st.Mode()&os.ModeSymlink != 0:
			if to, err := os.Readlink(p); err == nil {
				a = append(a, "--symlink", to, p)
			}
		default:
			a = append(a, "--ro-bind", p, p)
		}
	}
	return a
}

// Probe implements Backend.
func (b *Bwrap) Probe(ctx context.Context) []sched.Finding {
	program := b.probeProgram(ctx)
	all := append([]sched.Finding{probeShim(), program}, probeWalls(b.root, b.abi)...)
	if program.Severity == sched.Problem {
		return all // which says it all: without it nothing can be started
	}
	return append(all, b.probeStart(ctx))
}

const probeTime = 5 * time.Second

// probeProgram says which bubblewrap there is.
func (b *Bwrap) probeProgram(ctx context.Context) sched.Finding {
	f := sched.Finding{ID: "capsid.bwrap", What: "bubblewrap is installed"}
	path, err := b.program()
	if err != nil {
		f.Severity, f.What = sched.Problem, "cells can't be started in bubblewrap"
		blame(&f, err, "apt install bubblewrap")
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	text, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	f.Evidence = strings.TrimSpace(string(text)) + " at " + path
	if err != nil {
		f.Severity, f.What, f.Fix = sched.Problem, "bubblewrap can't be run", "reinstall bubblewrap"
		f.Evidence += ": " + err.Error()
	}
	return f
}

// probeStart makes a capsid with all walls and runs a program in it that is
// everywhere: the shim itself, which ends at once for want of a command.
func (b *Bwrap) probeStart(ctx context.Context) sched.Finding {
	f := sched.Finding{ID: "capsid.bwrap.start", What: "a capsid can be made with all walls"}
	p, err := b.Start(ctx, Spec{Name: "probe", Command: []string{shimPath}, Files: Files{TmpSize: -1}, StartTimeout: probeTime})
	if err == nil {
		p.Kill(Killed, "it was a probe")
		<-p.Done()
		p.Socket().Close()
		f.Evidence = fmt.Sprintf("one ran as uid %d", p.UID())
		return f
	}
	f.Severity, f.What = sched.Problem, "no capsid can be made"
	fix := "run the node as root"
	if b.root {
		fix = "give the node CAP_SYS_ADMIN; in a container let its seccomp profile and AppArmor allow mount and unshare (docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined --cap-add SYS_ADMIN)"
	} else if closed := closedUserNamespaces(); len(closed) > 0 {
		fix = "mend capsid.userns"
	}
	blame(&f, err, fix)
	return f
}
