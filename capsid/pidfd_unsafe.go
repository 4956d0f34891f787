package capsid

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pidfdInfo is the kernel's struct pidfd_info in its first version (Linux
// 6.13; exit_code since 6.15), include/uapi/linux/pidfd.h.
type pidfdInfo struct {
	mask                     uint64
	cgroup                   uint64
	pid, tgid, ppid          uint32
	ruid, rgid, euid, egid   uint32
	suid, sgid, fsuid, fsgid uint32
	exitCode                 int32
}

const (
	pidfdInfoPID  = 1
	pidfdInfoExit = 1 << 3
	pidfdGetInfo  = 3<<30 | 64<<16 | 0xff<<8 | 11 // _IOWR(0xff, 11, struct pidfd_info)
)

// infoOf asks about the process behind pidfd, which need not be a child.
func infoOf(pidfd int) (info pidfdInfo, ok bool) {
	info.mask = pidfdInfoPID | pidfdInfoExit
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	return info, e == 0
}

// exitOf returns how a process ended that somebody else has reaped.
func exitOf(pidfd int) (syscall.WaitStatus, bool) {
	info, ok := infoOf(pidfd)
	return syscall.WaitStatus(info.exitCode), ok && info.mask&pidfdInfoExit != 0
}
