package capsid

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// EnvNode names the environment variable that tells a cell the number of the
// socket to its node.
const EnvNode = "CELL_NODE_FD"

// Spec says which cell to run, in which walls. The zero value of everything but
// Name and Command is the strictest.
type Spec struct {
	// Name is the cell's, for logs and control groups: letters, digits, '.',
	// '-', '_', at most 64.
	Name string
	// Command is the program, by its absolute path on the host, and its
	// arguments. In a capsid with a file system of its own the program appears
	// under the same path, read-only, without being named in Files.
	Command []string
	// Env is the whole environment, "KEY=value", besides CELL_NODE_FD.
	Env []string
	// Dir is the working directory inside. Default: "/".
	Dir string
	// Files is what of the host's file system the cell sees.
	Files Files
	// Limits bound what the cell may use.
	Limits Limits
	// Seccomp names the filter of system calls: "" or "default", "strict"
	// (no new processes), or "off", which must be asked for and which the
	// backends with walls refuse unless AllowUnfiltered is set.
	Seccomp string
	// AllowUnfiltered allows Seccomp "off".
	AllowUnfiltered bool
	// Output, if set, is given all that the cell writes to stdout and stderr,
	// from one goroutine. A writer that blocks blocks the cell.
	Output io.Writer
	// StartTimeout bounds the starting beside Start's context. Default: 10 s, and a
	// minute in the background, where others may leave little time for it.
	StartTimeout time.Duration
}

// Files is the part of the host's file system that a cell sees.
type Files struct {
	// ReadOnly and ReadWrite are absolute paths of the host, files or folders,
	// which appear under the same path.
	ReadOnly, ReadWrite []string
	// System adds what dynamically linked programs need, read-only: /usr,
	// /lib, /lib64, /bin, /sbin as far as they exist, and /etc/ld.so.cache.
	System bool
	// Proc adds a /proc of the capsid's own processes, with /proc/sys masked.
	// Without it there is none.
	Proc bool
	// TmpSize bounds the private /tmp in bytes; it counts as memory of the
	// cell, too. Default: 16 MiB; negative: no /tmp.
	TmpSize int64
}

// Limits of one cell with all its processes. Zero means no limit, except where
// a default is named.
type Limits struct {
	Memory    int64         // bytes, file cache and /tmp included; no swap
	Processes int           // and threads, together
	CPU       float64       // CPUs, 0.5 is half a core; where CPUs are scarce, half a share, too
	CPUSet    string        // CPUs that may be used, "2-3,7"
	CPUTime   time.Duration // of one process, then it is ended
	OpenFiles int           // descriptors of one process. Default: 1024
	FileSize  int64         // bytes of one file
	Locked    int64         // bytes of locked memory of one process. Default: 64 KiB
	Output    int64         // bytes on stdout and stderr, then the cell is ended
	// Background gives the cell what CPU time others leave, and takes it away at
	// once when they want it: SCHED_IDLE (sched(7)). It can be starved.
	Background bool
	// Missing says what to do where a limit needs a control group and none can
	// be had.
	Missing Missing
}

// Missing is the choice for hosts that delegate no control group.
type Missing uint8

// The choices.
const (
	// Refuse starts nothing: the default.
	Refuse Missing = iota
	// Rlimits uses resource limits in place of what is missing: RLIMIT_AS for
	// Memory, per process, and RLIMIT_NPROC for Processes, per user, which
	// holds only where the cell has a user of its own. CPU has no such
	// substitute and stays without limit. Process.Degraded says so.
	Rlimits
)

const (
	maxName      = 64
	maxArguments = 1 << 10
	maxText      = 128 << 10 // of arguments and environment together
	maxPaths     = 256

	defaultOpenFiles    = 1024
	defaultLocked       = 64 << 10
	defaultTmp          = 16 << 20
	defaultStartTimeout = 10 * time.Second
	patientStartTimeout = time.Minute

	// TailLines and TailBytes bound what is kept of a cell's output.
	TailLines = 40
	TailBytes = 16 << 10
)

// seccompNames are the filters that exist.
var seccompNames = []string{"default", "strict", "off"}

// Settle returns s with defaults filled in, or what is wrong with it: ErrSpec.
func (s Spec) Settle() (Spec, error) {
	if err := s.checkNames(); err != nil {
		return s, err
	}
	if err := s.Limits.check(); err != nil {
		return s, err
	}
	orDefault(&s.Dir, "/")
	orDefault(&s.Seccomp, "default")
	if s.Limits.Background {
		orDefault(&s.StartTimeout, patientStartTimeout)
	}
	orDefault(&s.StartTimeout, defaultStartTimeout)
	orDefault(&s.Files.TmpSize, defaultTmp)
	orDefault(&s.Limits.OpenFiles, defaultOpenFiles)
	orDefault(&s.Limits.Locked, defaultLocked)
	switch {
	case !filepath.IsAbs(s.Dir):
		return s, fmt.Errorf("%w: Dir %q is not absolute", ErrSpec, s.Dir)
	case !slices.Contains(seccompNames, s.Seccomp):
		return s, fmt.Errorf("%w: there is no seccomp filter %q; choose one of %s", ErrSpec, s.Seccomp, strings.Join(seccompNames, ", "))
	case s.StartTimeout < 0:
		return s, fmt.Errorf("%w: StartTimeout is negative", ErrSpec)
	}
	return s, s.Files.check()
}

func (s Spec) checkNames() error {
	if err := checkName(s.Name); err != nil {
		return err
	}
	if len(s.Command) == 0 || !filepath.IsAbs(s.Command[0]) {
		return fmt.Errorf("%w: Command of %s must begin with the absolute path of a program", ErrSpec, s.Name)
	}
	size := 0
	for _, text := range slices.Concat(s.Command, s.Env) {
		if size += len(text) + 1; strings.IndexByte(text, 0) >= 0 {
			return fmt.Errorf("%w: %q contains a zero byte", ErrSpec, text)
		}
	}
	if size > maxText || len(s.Command)+len(s.Env) > maxArguments {
		return fmt.Errorf("%w: command and environment of %s have %d bytes in %d parts, at most %d in %d are allowed",
			ErrSpec, s.Name, size, len(s.Command)+len(s.Env), maxText, maxArguments)
	}
	for _, e := range s.Env {
		if key, _, ok := strings.Cut(e, "="); !ok || key == "" || key == EnvNode {
			return fmt.Errorf("%w: environment %q must be KEY=value, and %s is the node's to set", ErrSpec, e, EnvNode)
		}
	}
	return nil
}

// checkName holds names to what is safe in paths and logs.
func checkName(name string) error {
	if len(name) == 0 || len(name) > maxName || name[0] == '.' {
		return fmt.Errorf("%w: name %.80q must have 1 to %d bytes and not begin with '.'", ErrSpec, name, maxName)
	}
	for i := range len(name) {
		c := name[i]
		if letter := c|0x20 >= 'a' && c|0x20 <= 'z'; !letter && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return fmt.Errorf("%w: name %q: use ASCII letters, digits, '.', '-' and '_'", ErrSpec, name)
		}
	}
	return nil
}

func (l Limits) check() error {
	for name, v := range map[string]int64{
		"Memory": l.Memory, "Processes": int64(l.Processes), "CPUTime": int64(l.CPUTime), "OpenFiles": int64(l.OpenFiles),
		"FileSize": l.FileSize, "Locked": l.Locked, "Output": l.Output,
	} {
		if v < 0 {
			return fmt.Errorf("%w: Limits.%s is negative", ErrSpec, name)
		}
	}
	switch {
	case l.CPU < 0 || l.CPU > 1<<16 || l.CPU != l.CPU:
		return fmt.Errorf("%w: Limits.CPU is %v CPUs", ErrSpec, l.CPU)
	case l.CPU > 0 && l.CPU < 0.01:
		return fmt.Errorf("%w: Limits.CPU of %v: the kernel's least quota is 1 ms in each 100 ms, 0.01", ErrSpec, l.CPU)
	case l.Memory > 0 && l.Memory < 1<<20:
		return fmt.Errorf("%w: Limits.Memory of %d bytes: no program starts in less than 1 MiB", ErrSpec, l.Memory)
	case l.OpenFiles > 0 && l.OpenFiles < 16:
		return fmt.Errorf("%w: Limits.OpenFiles of %d: a cell with a ring needs 16", ErrSpec, l.OpenFiles)
	case l.CPUTime > 0 && l.CPUTime < time.Second:
		return fmt.Errorf("%w: Limits.CPUTime of %v: the kernel counts whole seconds", ErrSpec, l.CPUTime)
	case l.Missing > Rlimits:
		return fmt.Errorf("%w: Limits.Missing %d is no choice", ErrSpec, l.Missing)
	}
	return nil
}

// needsGroup reports whether a control group is needed, and for what.
func (l Limits) needsGroup() (which []string) {
	for name, asked := range map[string]bool{
		"memory": l.Memory > 0, "pids": l.Processes > 0, "cpu": l.CPU > 0, "cpuset": l.CPUSet != "",
	} {
		if asked {
			which = append(which, name)
		}
	}
	slices.Sort(which)
	return which
}

func (f Files) check() error {
	if n := len(f.ReadOnly) + len(f.ReadWrite); n > maxPaths {
		return fmt.Errorf("%w: %d paths in Files, at most %d are allowed", ErrSpec, n, maxPaths)
	}
	for _, p := range slices.Concat(f.ReadOnly, f.ReadWrite) {
		switch {
		case !filepath.IsAbs(p) || filepath.Clean(p) != p || strings.IndexByte(p, 0) >= 0:
			return fmt.Errorf("%w: path %q in Files must be absolute and clean", ErrSpec, p)
		case p == "/":
			return fmt.Errorf("%w: Files names /, which is the whole host; name what the cell needs", ErrSpec)
		}
	}
	return nil
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
