package capsidtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Host is what of the host the probes try to reach. A test makes it and gives
// it to the cell as arguments.
type Host struct {
	Secret   string // a file that anybody may read
	Folder   string // one that anybody may write to
	Socket   string // a unix socket that listens, in a runtime directory
	Abstract string // the name of an abstract one
	TCP      string // an address that listens
	PID      int    // a process
}

// Arguments are those of the role "probe".
func (h Host) Arguments() []string {
	return []string{"probe", h.Secret, h.Folder, h.Socket, h.Abstract, h.TCP, strconv.Itoa(h.PID)}
}

func init() { Roles["probe"] = probeAll }

// probe is one way out of a capsid. It returns nil if it was open.
type probe struct {
	group, name string
	try         func(h Host) error
}

// probeAll tries all of them and prints a line for each: "held" or "OPEN".
func probeAll(args []string) {
	h := Host{args[0], args[1], args[2], args[3], args[4], number(args[5])}
	for _, p := range slices.Concat(fileProbes, networkProbes, processProbes, kernelProbes, ownProbes) {
		err := p.try(h)
		state := "held"
		if err == nil {
			state = "OPEN"
		}
		fmt.Printf("%s %s: %s (%v)\n", state, p.group, p.name, err)
	}
	fmt.Println("probed")
}

func reads(path string) func(Host) error {
	return func(Host) error { _, err := os.ReadFile(path); return err }
}

func writes(path string) func(Host) error {
	return func(Host) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			f.Close()
		}
		return err
	}
}

func creates(path string) func(Host) error {
	return func(Host) error {
		err := os.WriteFile(path, []byte("x"), 0o600)
		if err == nil {
			_ = os.Remove(path) // where it was open, nothing is left
		}
		return err
	}
}

var fileProbes = []probe{
	{"files", "read a file of the host", func(h Host) error { _, err := os.ReadFile(h.Secret); return err }},
	{"files", "read /etc/passwd", reads("/etc/passwd")},
	{"files", "read /etc/shadow", reads("/etc/shadow")},
	{"files", "read the folder of root", func(Host) error { _, err := os.ReadDir("/root"); return err }},
	{"files", "read it through a symbolic link", func(h Host) error {
		_ = os.Symlink(h.Secret, "/tmp/link")
		defer os.Remove("/tmp/link")
		_, err := os.ReadFile("/tmp/link")
		return err
	}},
	{"files", "read it through /proc/1/root", func(h Host) error { _, err := os.ReadFile("/proc/1/root" + h.Secret); return err }},
	{"files", "read it by going up", func(h Host) error { _, err := os.ReadFile("/tmp/../../../.." + h.Secret); return err }},
	{"files", "write to a folder of the host that anybody may write to", func(h Host) error { return os.WriteFile(h.Folder+"/x", nil, 0o600) }},
	{"files", "write to /", creates("/x")},
	{"files", "write to /dev", creates("/dev/x")},
	{"files", "write to /dev/shm", creates("/dev/shm/x")},
	{"files", "write to /var/tmp", creates("/var/tmp/x")},
	{"files", "write to the own program", func(Host) error { return writes(os.Args[0])(Host{}) }},
	{"files", "replace the own program", func(Host) error { return unix.Access(filepath.Dir(os.Args[0]), unix.W_OK) }},
	{"files", "make a device", func(Host) error { return unix.Mknod("/tmp/mem", unix.S_IFCHR|0o666, 1<<8|1) }},
	{"files", "open a file by handle", func(Host) error {
		_, err := unix.OpenByHandleAt(unix.AT_FDCWD, unix.NewFileHandle(1, []byte{1, 0, 0, 0}), 0)
		return err
	}},
	{"files", "change the root", func(Host) error { return unix.Chroot("/tmp") }},
	{"files", "read /sys", func(Host) error { _, err := os.ReadDir("/sys/kernel"); return err }},
	{"files", "write to /proc/sys", writes("/proc/sys/kernel/core_pattern")},
	{"files", "read /proc/sys", reads("/proc/sys/kernel/core_pattern")},
	{"files", "write to /proc/sysrq-trigger", writes("/proc/sysrq-trigger")},
	{"files", "read the kernel's memory", reads("/proc/kcore")},
}

func opens(domain, kind, protocol int) func(Host) error {
	return func(Host) error {
		fd, err := unix.Socket(domain, kind, protocol)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
}

func dials(network string, address func(Host) string) func(Host) error {
	return func(h Host) error {
		c, err := net.Dial(network, address(h))
		if err == nil {
			c.Close()
		}
		return err
	}
}

var networkProbes = []probe{
	{"network", "connect to a port of the host", dials("tcp", func(h Host) string { return h.TCP })},
	{"network", "a socket for IPv4", opens(unix.AF_INET, unix.SOCK_STREAM, 0)},
	{"network", "a socket for IPv6", opens(unix.AF_INET6, unix.SOCK_DGRAM, 0)},
	{"network", "a raw socket", opens(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)},
	{"network", "a packet socket", opens(unix.AF_PACKET, unix.SOCK_RAW, 0)},
	{"network", "netlink", opens(unix.AF_NETLINK, unix.SOCK_RAW, 0)},
	{"network", "vsock", opens(unix.AF_VSOCK, unix.SOCK_STREAM, 0)},
	{"network", "the kernel's ciphers", opens(unix.AF_ALG, unix.SOCK_SEQPACKET, 0)},
	{"network", "Bluetooth", opens(unix.AF_BLUETOOTH, unix.SOCK_RAW, 1)},
	{"network", "AF_XDP", opens(unix.AF_XDP, unix.SOCK_RAW, 0)},
	{"network", "an abstract unix socket of the host", dials("unix", func(h Host) string { return "@" + h.Abstract })},
	{"network", "a socket in the runtime directory", dials("unix", func(h Host) string { return h.Socket })},
	{"network", "that socket by a symbolic link", func(h Host) error {
		_ = os.Symlink(h.Socket, "/tmp/s")
		defer os.Remove("/tmp/s")
		return dials("unix", func(Host) string { return "/tmp/s" })(h)
	}},
}

var processProbes = []probe{
	{"processes", "signal a process of the host", func(h Host) error { return unix.Kill(h.PID, 0) }},
	{"processes", "see it in /proc", func(h Host) error { _, err := os.Stat(fmt.Sprintf("/proc/%d/stat", h.PID)); return err }},
	{"processes", "a pidfd of it", func(h Host) error { _, err := unix.PidfdOpen(h.PID, 0); return err }},
	{"processes", "trace a process", func(h Host) error { return unix.PtraceAttach(1) }},
	{"processes", "trace by seizing", func(Host) error { return raw(unix.SYS_PTRACE, 0x4206, 1, 0, 0) }},
	{"processes", "read another's memory", func(h Host) error {
		b := make([]byte, 8)
		_, err := unix.ProcessVMReadv(h.PID, []unix.Iovec{{Base: &b[0], Len: 8}}, []unix.RemoteIovec{{Base: 0x400000, Len: 8}}, 0)
		return err
	}},
	{"processes", "take another's descriptor", func(Host) error { _, err := unix.PidfdGetfd(3, 0, 0); return err }},
	{"processes", "compare processes", func(h Host) error { return raw(unix.SYS_KCMP, uintptr(h.PID), 1, 0, 0, 0) }},
	{"processes", "read the first one's environment", reads("/proc/1/environ")},
}

func calls(number uintptr, args ...uintptr) func(Host) error {
	return func(Host) error {
		err := raw(number, args...)
		// Refused for its arguments means that it would have been allowed.
		if errors.Is(err, unix.EFAULT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBADF) {
			return nil
		}
		return err
	}
}

var kernelProbes = []probe{
	{"keyrings", "the session's keys", calls(unix.SYS_KEYCTL, 0, ^uintptr(2), 0)},
	{"keyrings", "a new key", func(Host) error { return raw(unix.SYS_ADD_KEY, text("user"), text("x"), text("y"), 1, ^uintptr(3)) }},
	{"keyrings", "ask for a key", func(Host) error { return raw(unix.SYS_REQUEST_KEY, text("user"), text("x"), 0, 0) }},
	{"mounts", "mount", func(Host) error { return unix.Mount("x", "/tmp", "tmpfs", 0, "") }},
	{"mounts", "remount writable", func(Host) error { return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "") }},
	{"mounts", "unmount", func(Host) error { return unix.Unmount("/tmp", unix.MNT_DETACH) }},
	{"mounts", "pivot_root", func(Host) error { return unix.PivotRoot("/tmp", "/tmp") }},
	{"mounts", "fsopen", func(Host) error { return raw(unix.SYS_FSOPEN, text("tmpfs"), 0) }},
	{"mounts", "open_tree", func(Host) error { return raw(unix.SYS_OPEN_TREE, ^uintptr(99), text("/"), 1) }},
	{"namespaces", "a user namespace", func(Host) error { return unix.Unshare(unix.CLONE_NEWUSER) }},
	{"namespaces", "a mount namespace", func(Host) error { return unix.Unshare(unix.CLONE_NEWNS) }},
	{"namespaces", "a user namespace by clone", func(Host) error {
		_, err := syscall.ForkExec(os.Args[0], []string{"x", roleArg, "exit", "0"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}})
		return err
	}},
	{"namespaces", "clone3", calls(unix.SYS_CLONE3, 0, 0)},
	{"namespaces", "enter one", calls(unix.SYS_SETNS, 0, 0)},
	{"kernel", "bpf", calls(unix.SYS_BPF, 0, 0, 0)},
	{"kernel", "io_uring", calls(unix.SYS_IO_URING_SETUP, 1, 0)},
	{"kernel", "userfaultfd", func(Host) error { return raw(unix.SYS_USERFAULTFD, 1) }},
	{"kernel", "performance counters", calls(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0, 0, 0)},
	{"kernel", "a module", calls(unix.SYS_INIT_MODULE, 0, 0, 0)},
	{"kernel", "another kernel", calls(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0)},
	{"kernel", "reboot", calls(unix.SYS_REBOOT, 1, 2, 3)},
	{"kernel", "its log", calls(unix.SYS_SYSLOG, 10, 0, 0)},
	{"kernel", "the clock", calls(unix.SYS_CLOCK_SETTIME, 0, 0)},
	{"kernel", "the host's name", func(Host) error { return unix.Sethostname([]byte("x")) }},
	{"kernel", "swap", func(Host) error { return raw(unix.SYS_SWAPON, text("/tmp/x"), 0) }},
	{"kernel", "accounting", func(Host) error { return raw(unix.SYS_ACCT, 0) }},
	{"kernel", "quotas", calls(unix.SYS_QUOTACTL, 0, 0, 0, 0)},
	{"kernel", "watching a whole file system", calls(unix.SYS_FANOTIFY_INIT, 0, 0)},
	{"kernel", "addresses without randomness", func(Host) error { return raw(unix.SYS_PERSONALITY, 0x0040000) }},
}

var ownProbes = []probe{
	{"privileges", "become root", func(Host) error { return unix.Setresuid(0, 0, 0) }},
	{"privileges", "become root's group", func(Host) error { return unix.Setresgid(0, 0, 0) }},
	{"privileges", "capabilities", func(Host) error {
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		d := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
		return unix.Capset(&h, &d[0])
	}},
	{"privileges", "new privileges by execve", func(Host) error {
		if n, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err != nil || n != 1 {
			return nil
		}
		return errors.New("no_new_privs is set")
	}},
	{"privileges", "a capability in the bounding set", func(Host) error {
		for c := range 64 {
			if n, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); err == nil && n == 1 {
				return nil
			}
		}
		return errors.New("it is empty")
	}},
	{"privileges", "a higher limit", func(Host) error {
		var now unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
			return err
		}
		now.Max *= 2
		return unix.Setrlimit(unix.RLIMIT_NOFILE, &now)
	}},
	{"privileges", "real-time priority", func(Host) error {
		return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
	}},
	{"privileges", "a higher priority", func(Host) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -20) }},
	{"terminal", "type into a terminal", func(Host) error {
		b := []byte("x")
		for fd := range 4 {
			// Refused for being no terminal would not be a wall.
			if err := raw(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSTI, ptr(b)); !errors.Is(err, unix.EPERM) {
				return nil
			}
		}
		return unix.EPERM
	}},
	{"terminal", "a controlling terminal", reads("/dev/tty")},
	{"inherited", "descriptors beyond the four", func(Host) error {
		for fd := range 1024 {
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && fd > 3 && flags&unix.FD_CLOEXEC == 0 {
				return nil
			}
		}
		return errors.New("none")
	}},
	{"inherited", "the environment of the node", func(Host) error {
		for _, e := range os.Environ() {
			if strings.Contains(e, "PROBE_SECRET") {
				return nil
			}
		}
		return errors.New("it is not there")
	}},
	{"inherited", "forged credentials on the socket to the node", func(Host) error {
		return unix.Sendmsg(3, []byte("x"), unix.UnixCredentials(&unix.Ucred{Pid: 1, Uid: 0, Gid: 0}), nil, unix.MSG_DONTWAIT)
	}},
}
