package capsid

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// What shim/shim.c is told, and says. The layout is its struct config.
const (
	shimMagic = 0x314d4853 // "SHM1"

	shimUID         = 1  // change user and group
	shimDropCaps    = 2  // all capabilities, from every set
	shimDeathSig    = 4  // end with the parent
	shimSession     = 8  // a session of its own
	shimBehind      = 16 // SCHED_IDLE
	shimPrivileged  = 32 // no no_new_privs: for bubblewrap, which may be setuid
	shimEnvironment = 64 // the configuration has the environment

	shimStatus = 125      // exit status of a shim that failed
	shimMax    = 96 << 10 // bytes of a configuration
	failureLen = 12       // bytes of its struct failure
	nodeFD     = 3        // the cell's end of its socket
	maxFilter  = 4096     // instructions: BPF_MAXINSNS
	memfdExec  = 0x10     // MFD_EXEC: Linux 6.3, asked for where vm.memfd_noexec is set
)

// shimSteps names where a shim failed: its enum step.
var shimSteps = [...]string{
	1: "saying hello", 2: "reading its configuration", 3: "making a session", 4: "setting a resource limit",
	5: "confining itself with Landlock", 6: "dropping capabilities", 7: "changing the user", 8: "setting no_new_privs",
	9: "loading the seccomp filter", 10: "closing descriptors", 11: "tying its life to its parent's", 12: "reporting", 13: "executing the program", 14: "joining a control group",
	15: "putting itself behind all others (SCHED_IDLE)", 16: "changing to its directory", 17: "taking its descriptors", 18: "starting a process",
}

const stepExec = 13

type rlimit struct {
	resource   uint32
	soft, hard uint64
}

// pathRule allows access below path to a cell confined by Landlock.
type pathRule struct {
	access   uint64
	path     string
	optional bool // may be missing
}

// ruleset is what Landlock is to handle; size is that of the kernel's struct,
// which grew with its versions, and 0 means no Landlock.
type ruleset struct {
	fs, net, scoped uint64
	size            uint32
	rules           []pathRule
}

// shimConfig is all that the shim does to itself.
type shimConfig struct {
	flags    uint32
	uid, gid uint32
	limits   []rlimit
	groups   int // files of control groups, inherited from descriptor 5 on
	landlock ruleset
	filter   []byte   // sock_filter instructions, 8 bytes each
	env      []string // with shimEnvironment
}

// encode returns the message for the shim.
func (c *shimConfig) encode() ([]byte, error) {
	le := binary.NativeEndian
	b := make([]byte, 0, 4096)
	for _, v := range []uint32{shimMagic, c.flags, c.uid, c.gid, uint32(len(c.limits)), uint32(len(c.landlock.rules)), uint32(len(c.filter) / 8), c.landlock.size, uint32(c.groups), uint32(len(c.env))} {
		b = le.AppendUint32(b, v)
	}
	for _, v := range []uint64{c.landlock.fs, c.landlock.net, c.landlock.scoped} {
		b = le.AppendUint64(b, v)
	}
	for _, l := range c.limits {
		b = le.AppendUint32(b, l.resource)
		b = le.AppendUint32(b, 0)
		b = le.AppendUint64(b, l.soft)
		b = le.AppendUint64(b, l.hard)
	}
	for _, r := range c.landlock.rules {
		optional := uint32(0)
		if r.optional {
			optional = 1
		}
		b = le.AppendUint64(b, r.access)
		b = le.AppendUint32(b, optional)
		b = le.AppendUint32(b, uint32(len(r.path)+1))
		b = append(b, r.path...)
		for b = append(b, 0); len(b)%8 != 0; {
			b = append(b, 0)
		}
	}
	b = append(b, c.filter...)
	if len(b) > shimMax || len(c.filter)/8 > maxFilter {
		return nil, fmt.Errorf("%w: the walls take %d bytes to describe, at most %d fit; name fewer paths", ErrSpec, len(b), shimMax)
	}
	for _, variable := range c.env {
		b = append(append(b, variable...), 0)
	}
	return b, nil
}

// shimFile is the shim as a file that can be executed: memory, so that nothing
// is left behind.
var shimFile = sync.OnceValues(func() (*os.File, error) {
	if len(shimProgram) == 0 {
		return nil, fmt.Errorf("%w: the shim is not built for %s (capsid/shim)", ErrUnavailable, runtime.GOARCH)
	}
	fd, err := unix.MemfdCreate("cell-shim", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|memfdExec)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("cell-shim", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: no memory file for the shim: %w; vm.memfd_noexec of 2 forbids it, set it to 1", ErrUnavailable, err)
	}
	fd = moveUp(fd)
	f := os.NewFile(uintptr(fd), "cell-shim")
	if _, err := f.Write(shimProgram); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := f.Chmod(0o555); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
})

// openShim returns the shim as a descriptor with an offset of its own: bubblewrap reads
// it.
func openShim() (int, error) {
	f, err := shimFile()
	if err != nil {
		return -1, err
	}
	return unix.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// aboveInherited is more than the number of any descriptor that a cell inherits.
const aboveInherited = 64

// moveUp gives a descriptor a number that no inherited one takes in a child,
// where executable may have to name it by that. It keeps its number if there are
// not that many.
func moveUp(fd int) int {
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, aboveInherited)
	if err != nil {
		return fd
	}
	unix.Close(fd)
	return high
}

// executable is the path by which a child executes f. Not by its own copy of the
// descriptor, where it can be helped: what it inherits may take its number. A
// process that may not be dumped has no other way.
func executable(f *os.File) string {
	if n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err == nil && n == 1 {
		return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
	}
	return fmt.Sprintf("/proc/self/fd/%d", f.Fd())
}

// devNull is what cells have for their standard input.
var devNull = sync.OnceValues(func() (*os.File, error) { return os.Open(os.DevNull) })

// shimFailed explains a failure that the shim tells.
func shimFailed(step uint32, errno unix.Errno) error {
	what := "an unknown step"
	if int(step) < len(shimSteps) {
		what = shimSteps[step]
	}
	if step == stepExec {
		return fmt.Errorf("%w: %s: %w; the file and, of a dynamically linked program, its loader and libraries must be readable inside (Files)", ErrStart, what, errno)
	}
	return fmt.Errorf("%w: the shim failed in %s: %w", ErrUnavailable, what, errno)
}
