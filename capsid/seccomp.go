package capsid

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// allowed are the system calls of an ordinary program that serves: memory,
// threads, files that it can see, clocks, signals to itself, unix sockets. What
// is not here is refused with EPERM: mounting, namespaces, tracing, keys, bpf,
// io_uring, userfaultfd, performance counters, modules, clocks to set, other
// processes' memory, open_by_handle_at.
//
// Names that an architecture does not have are left out there.
var allowed = []string{
	// files
	"access", "chdir", "chmod", "close", "close_range", "copy_file_range", "creat", "dup", "dup2", "dup3",
	"faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fcntl", "fdatasync",
	"flock", "fstat", "fstatfs", "fsync", "ftruncate", "getcwd", "getdents", "getdents64", "inotify_add_watch",
	"inotify_init", "inotify_init1", "inotify_rm_watch", "lgetxattr", "getxattr", "fgetxattr", "link", "linkat", "lseek", "lstat", "mkdir",
	"mkdirat", "newfstatat", "open", "openat", "openat2", "pipe", "pipe2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev",
	"pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "rename", "renameat", "renameat2", "rmdir", "sendfile",
	"splice", "stat", "statfs", "statx", "symlink", "symlinkat", "sync_file_range", "syncfs", "tee", "truncate", "umask", "unlink",
	"unlinkat", "utime", "utimensat", "utimes", "futimesat", "vmsplice", "write", "writev",
	// waiting
	"epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2",
	"poll", "ppoll", "pselect6", "select", "signalfd", "signalfd4", "timerfd_create", "timerfd_gettime", "timerfd_settime",
	// memory
	"brk", "madvise", "membarrier", "memfd_create", "mincore", "mlock", "mlock2", "mmap", "mprotect", "mremap", "msync",
	"munlock", "munmap", "pkey_alloc", "pkey_free", "pkey_mprotect", "get_mempolicy", "map_shadow_stack", "mseal",
	// threads and this process
	"arch_prctl", "capget", "exit", "exit_group", "futex", "futex_waitv", "futex_wait", "futex_wake", "futex_requeue",
	"get_robust_list", "getcpu", "getegid", "geteuid", "getgid",
	"getgroups", "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getresgid", "getresuid", "getrlimit", "getrusage",
	"getsid", "gettid", "getuid", "prctl", "prlimit64", "restart_syscall", "rseq", "rt_sigaction", "rt_sigpending",
	"rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo",
	"sched_getaffinity", "sched_getattr", "sched_getparam", "sched_get_priority_max", "sched_get_priority_min",
	"sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity", "sched_yield", "set_robust_list",
	"set_tid_address", "setitimer", "getitimer", "alarm", "pause", "setrlimit", "sigaltstack", "sysinfo", "time", "times", "tgkill", "tkill",
	"kill", "uname", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp",
	"pidfd_open", "pidfd_send_signal",
	// clocks
	"clock_getres", "clock_gettime", "clock_nanosleep", "gettimeofday", "nanosleep", "timer_create", "timer_delete",
	"timer_getoverrun", "timer_gettime", "timer_settime",
	// unix sockets; socket and socketpair are below
	"accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom", "recvmmsg",
	"recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
	"getrandom", "execve", "execveat", "wait4", "waitid",
}

// spawning are the calls by which new processes come about, beside clone.
var spawning = []string{"fork", "vfork", "setpgid", "setsid"}

const (
	namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	// TIOCLINUX, of the same kind as TIOCSTI: it types into a terminal.
	tioclinux = 0x541C
)

// filterOf returns the filter of that name as sock_filter instructions; nil
// for "off".
func filterOf(name string) ([]byte, error) {
	if name == "off" {
		return nil, nil
	}
	filterCache.Lock()
	defer filterCache.Unlock()
	if f, ok := filterCache.by[name]; ok {
		return f, nil
	}
	f, err := assemble(name == "strict")
	if err != nil {
		return nil, fmt.Errorf("%w: no seccomp filter: %w", ErrUnavailable, err)
	}
	filterCache.by[name] = f
	return f, nil
}

var filterCache = struct {
	sync.Mutex
	by map[string][]byte
}{by: map[string][]byte{}}

// assemble makes the filter. strict allows new threads and no new processes.
func assemble(strict bool) ([]byte, error) {
	here, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	names := slices.Clone(allowed)
	if !strict {
		names = append(names, spawning...)
	}
	names = slices.DeleteFunc(names, func(n string) bool { _, ok := here.SyscallNames[n]; return !ok })
	slices.Sort(names)
	names = slices.Compact(names)
	when := func(name string, c ...seccomp.Condition) seccomp.NameWithConditions {
		return seccomp.NameWithConditions{Name: name, Conditions: c}
	}
	is := func(argument uint32, op seccomp.Operation, v uint64) seccomp.Condition {
		return seccomp.Condition{Argument: argument, Operation: op, Value: v}
	}
	clone := []seccomp.Condition{is(0, seccomp.BitsNotSet, namespaceFlags)}
	if strict {
		clone = append(clone, is(0, seccomp.BitsSet, unix.CLONE_THREAD))
	}
	// The library makes EPERM of the default.
	p := seccomp.Policy{DefaultAction: seccomp.ActionErrno, Syscalls: []seccomp.SyscallGroup{
		// Its flags lie in memory, where a filter can't look; programs fall
		// back to clone.
		{Names: []string{"clone3"}, Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS)},
		{Names: names, Action: seccomp.ActionAllow, NamesWithCondtions: []seccomp.NameWithConditions{
			when("clone", clone...),
			when("socket", is(0, seccomp.Equal, unix.AF_UNIX)),
			when("socketpair", is(0, seccomp.Equal, unix.AF_UNIX)),
			when("ioctl", is(1, seccomp.NotEqual, unix.TIOCSTI), is(1, seccomp.NotEqual, tioclinux)),
			when("personality", is(0, seccomp.Equal, 0xffffffff)), // asks
		}},
	}}
	instructions, err := p.Assemble()
	if err != nil {
		return nil, err
	}
	return encodeFilter(instructions)
}

// encodeFilter returns the kernel's form: struct sock_filter, native order.
func encodeFilter(instructions []bpf.Instruction) ([]byte, error) {
	raw, err := bpf.Assemble(instructions)
	if err != nil {
		return nil, err
	}
	var b []byte
	for _, i := range raw {
		b = binary.NativeEndian.AppendUint16(b, i.Op)
		b = append(b, i.Jt, i.Jf)
		b = binary.NativeEndian.AppendUint32(b, i.K)
	}
	return b, nil
}
