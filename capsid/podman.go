package capsid

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/sched"
)

func init() { Register("podman", func() (Backend, error) { return NewPodman("") }) }

// Podman runs each cell in a container of its own, whose root is made of what the Spec
// names: no image is needed, and none is pulled. Inside, the shim adds a user, Landlock
// and a filter of system calls, as it does behind bubblewrap.
//
// All that podman keeps lies in memory, in a mount namespace of this one container, and
// podman with its helpers in a pid namespace: so nothing of it outlives the cell or the
// node, and the host's own containers are not touched. That takes a node that is root.
type Podman struct {
	path string // "" is looked for
	abi  int
}

// NewPodman returns the backend that runs the podman at path; "" looks for podman in
// PATH.
func NewPodman(path string) (*Podman, error) {
	if path != "" && !filepath.IsAbs(path) {
		return nil, fmt.Errorf("%w: path of podman %q is not absolute", ErrSpec, path)
	}
	return &Podman{path: path, abi: landlockABI()}, nil
}

// Name implements Backend.
func (*Podman) Name() string { return "podman" }

// podmanTime is how long a start may take by default: a container takes half a second
// of CPU time, and several may be started at once.
const podmanTime = time.Minute

// programs are what a container takes, by their paths.
type programs struct{ podman, runtime, init string }

const podmanFix = "apt install podman crun catatonit, or dnf install podman crun catatonit"

// programs finds them.
func (b *Podman) programs() (p programs, err error) {
	if os.Geteuid() != 0 {
		return p, mend("run the node as root, or use bwrap, which needs no root", "%w: containers that leave nothing behind take namespaces that only root may make; this process is uid %d", ErrUnavailable, os.Geteuid())
	}
	if p.podman = b.path; p.podman == "" {
		if p.podman, err = exec.LookPath("podman"); err != nil {
			return p, mend(podmanFix, "%w: podman is not installed (%w)", ErrUnavailable, err)
		}
	}
	for _, name := range []string{"crun", "runc"} {
		if p.runtime, err = exec.LookPath(name); err == nil {
			break
		}
	}
	if err != nil {
		return p, mend(podmanFix, "%w: podman has no runtime, neither crun nor runc", ErrUnavailable)
	}
	for _, path := range []string{"/usr/libexec/podman/catatonit", "/usr/bin/catatonit", "/usr/local/bin/catatonit"} {
		if exists(path) {
			p.init = path
		}
	}
	if p.init == "" {
		return p, mend(podmanFix, "%w: podman has no first process for containers, catatonit", ErrUnavailable)
	}
	for _, path := range []string{p.podman, p.runtime, p.init} {
		if err := trusted(path, podmanFix, true); err != nil {
			return p, err
		}
	}
	return p, nil
}

// Start implements Backend.
func (b *Podman) Start(ctx context.Context, s Spec) (Process, error) {
	orDefault(&s.StartTimeout, podmanTime)
	s, err := s.Settle()
	if err != nil {
		return nil, err
	}
	if err := checkWalled(s); err != nil {
		return nil, err
	}
	mounts, err := mountsOf(s)
	if err != nil {
		return nil, err
	}
	p, err := b.programs()
	if err != nil {
		return nil, err
	}
	l := &launch{spec: s, uid: uint32(os.Geteuid()), outside: &outside{env: podmanEnvironment, namespaces: unix.CLONE_NEWNS, cell: -1}}
	if err := innerWalls(l, true, b.abi); err != nil {
		return nil, err
	}
	// What podman and its helpers add to an environment is not what was asked for.
	l.config.flags |= shimEnvironment
	l.config.env = l.environment()
	l.walls = slices.Concat([]string{"/bin/sh", "-c", podmanHouse, "sh", strconv.Itoa(nodeFD + 2)}, p.arguments(s, mounts))
	return l.start(ctx)
}

// podmanEnvironment is podman's own. The host's configuration is left out: it could
// add devices, volumes and capabilities to any container.
var podmanEnvironment = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "XDG_RUNTIME_DIR=" + podmanStore, "CONTAINERS_CONF=/dev/null", "CONTAINERS_STORAGE_CONF=" + podmanStore + "/storage.conf"}

// podmanHouse prepares the namespaces in which podman runs.
//
//go:embed podman.sh
var podmanHouse string

// podmanStore is where podman keeps what it has to, in memory: podman.sh mounts it.
const podmanStore = "/dev/shm"

// arguments is the command line of podman and, behind it, of the shim.
func (p programs) arguments(s Spec, mounts []string) []string {
	masked := "/sys"
	if !s.Files.Proc {
		masked += ":/proc"
	} else {
		masked += ":/proc/sys"
	}
	a := []string{p.podman, "--log-level", "error",
		"--tmpdir", podmanStore + "/tmp", "--events-backend", "none", "--cgroup-manager", "cgroupfs", "--runtime", p.runtime, "--runtime-flag", "root=" + podmanStore + "/runtime",
		"run", "--rm", "--pull", "never", "--init", "--init-path", p.init, "--log-driver", "passthrough",
		// The shim joins the cell's own groups.
		"--cgroups", "disabled",
		"--network", "none", "--ipc", "none", "--uts", "private", "--pid", "private", "--hostname", "cell", "--no-hosts", "--passwd=false",
		"--read-only", "--read-only-tmpfs=false", "--systemd", "false", "--unsetenv-all",
		// For the shim, to become another user and to empty the bounding set, and for
		// catatonit, to signal a cell that has.
		"--cap-drop", "all", "--cap-add", "setuid,setgid,setpcap,kill",
		"--security-opt", "no-new-privileges", "--security-opt", "label=disable", "--security-opt", "mask=" + masked,
		"--preserve-fds", "2", "--workdir", s.Dir}
	if s.Files.TmpSize > 0 {
		a = append(a, "--tmpfs", fmt.Sprintf("/tmp:rw,exec,nosuid,nodev,notmpcopyup,mode=1777,size=%d", s.Files.TmpSize))
	}
	for _, m := range mounts {
		a = append(a, "--mount", m)
	}
	return append(append(a, "--rootfs", podmanStore+"/fs", shimPath), s.Command...)
}

// mountsOf is what of the host's file system the container has. Paths that podman would
// read as several options are refused, also where a symbolic link leads to one.
func mountsOf(s Spec) (mounts []string, err error) {
	bind := func(path, mode string) {
		from := path
		if real, e := filepath.EvalSymlinks(path); e == nil {
			from = real
		}
		if err == nil && strings.ContainsAny(from+path, ",\"\n") {
			err = fmt.Errorf("%w: path %q of %s: podman takes no commas, quotes and line ends in paths (it is %q); use bwrap, or another path", ErrSpec, path, s.Name, from)
		}
		mounts = append(mounts, "type=bind,src="+from+",dst="+path+","+mode)
	}
	if s.Files.System {
		for _, path := range system {
			if exists(path) {
				bind(path, "ro=true")
			}
		}
	}
	for _, path := range s.Files.ReadOnly {
		bind(path, "ro=true")
	}
	for _, path := range s.Files.ReadWrite {
		bind(path, "ro=false")
	}
	if s.Command[0] != shimPath && !covered(s.Command[0], s.Files) {
		bind(s.Command[0], "ro=true")
	}
	return mounts, err
}

// Probe implements Backend.
func (b *Podman) Probe(ctx context.Context) []sched.Finding {
	program := b.probeProgram(ctx)
	all := append([]sched.Finding{probeShim(), program}, probeWalls(os.Geteuid() == 0, b.abi)...)
	if program.Severity == sched.Problem {
		return all // which says it all: without it nothing can be started
	}
	return append(all, b.probeStart(ctx))
}

// probeProgram says which podman there is.
func (b *Podman) probeProgram(ctx context.Context) sched.Finding {
	f := sched.Finding{ID: "capsid.podman", What: "podman is installed"}
	p, err := b.programs()
	if err != nil {
		f.Severity, f.What = sched.Problem, "cells can't be started in containers of podman"
		blame(&f, err, podmanFix)
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	text, err := exec.CommandContext(ctx, p.podman, "--version").CombinedOutput()
	f.Evidence = fmt.Sprintf("%s at %s, with %s and %s", strings.TrimSpace(string(text)), p.podman, p.runtime, p.init)
	if err != nil {
		f.Severity, f.What, f.Fix = sched.Problem, "podman can't be run", "reinstall podman"
		f.Evidence += ": " + err.Error()
	}
	return f
}

// probeStart makes a container with all walls and runs the shim itself in it, which
// ends at once for want of a command.
func (b *Podman) probeStart(ctx context.Context) sched.Finding {
	f := sched.Finding{ID: "capsid.podman.start", What: "a container can be made with all walls"}
	p, err := b.Start(ctx, Spec{Name: "probe", Command: []string{shimPath}, Files: Files{TmpSize: -1}, StartTimeout: 4 * probeTime})
	if err == nil {
		p.Kill(Killed, "it was a probe")
		<-p.Done()
		p.Socket().Close()
		f.Evidence = fmt.Sprintf("one ran as uid %d", p.UID())
		return f
	}
	f.Severity, f.What = sched.Problem, "no container can be made"
	blame(&f, err, "give the node CAP_SYS_ADMIN, or use bwrap")
	return f
}
