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
	p := seccomp.Policy{DefaultAction: seccomp.ActionErrno /* EPERM */, Syscalls: []seccomp.SyscallGroup{
		{Names: names, Action: seccomp.ActionAllow},
	}}
	rest, err := p.Assemble()
	if err != nil {
		return nil, err
	}
	return encodeFilter(append(conditional(here, strict), rest...))
}

const (
	allow = uint32(seccomp.ActionAllow)
	deny  = uint32(seccomp.ActionErrno) | uint32(unix.EPERM)

	// struct seccomp_data; arguments are of 8 bytes, low word first on all
	// architectures that the shim is built for.
	offNumber, offArch, offArgs = 0, 4, 16
)

// conditional decides about the system calls whose arguments count, each for
// good: go-seccomp-bpf v1.6.0 does not load the number again behind a condition
// that failed, so that socket(AF_NETLINK) passed for the system call of that
// number. What is not named here falls through, and so does a foreign
// architecture, which the rest refuses.
func conditional(here *arch.Info, strict bool) []bpf.Instruction {
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offArch, Size: 4},
		nil, // over all of it, if foreign
	}
	when := func(name string, argument uint32, tests ...bpf.Instruction) {
		number, ok := here.SyscallNames[name]
		if !ok {
			return
		}
		program = append(program, bpf.LoadAbsolute{Off: offNumber, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(number), SkipTrue: uint8(1 + len(tests))},
			bpf.LoadAbsolute{Off: offArgs + 8*argument, Size: 4})
		program = append(program, tests...)
	}
	verdict := func(cond bpf.JumpTest, v, yes, no uint32) []bpf.Instruction {
		return []bpf.Instruction{bpf.JumpIf{Cond: cond, Val: v, SkipFalse: 1}, bpf.RetConstant{Val: yes}, bpf.RetConstant{Val: no}}
	}
	noNamespaces := []bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: namespaceFlags, SkipFalse: 1}, bpf.RetConstant{Val: deny}}
	if strict {
		when("clone", 0, append(noNamespaces, verdict(bpf.JumpBitsSet, unix.CLONE_THREAD, allow, deny)...)...)
	} else {
		when("clone", 0, append(noNamespaces, bpf.RetConstant{Val: allow})...)
	}
	// Its flags lie in memory, where a filter can't look; programs fall back to
	// clone.
	when("clone3", 0, bpf.RetConstant{Val: uint32(seccomp.ActionErrno) | uint32(unix.ENOSYS)})
	when("socket", 0, verdict(bpf.JumpEqual, unix.AF_UNIX, allow, deny)...)
	when("socketpair", 0, verdict(bpf.JumpEqual, unix.AF_UNIX, allow, deny)...)
	when("ioctl", 1, append([]bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.TIOCSTI, SkipFalse: 1}, bpf.RetConstant{Val: deny}},
		verdict(bpf.JumpEqual, tioclinux, deny, allow)...)...)
	when("personality", 0, verdict(bpf.JumpEqual, 0xffffffff, allow, deny)...) // it asks
	program[1] = bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(here.ID), SkipTrue: uint8(len(program) - 2)}
	return program
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
