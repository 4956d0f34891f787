package xsk

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

func setUmem(fd int, memory []byte, r *unix.XDPUmemReg) error {
	// The memory is a mapping, off the Go heap: it does not move, and the
	// kernel may keep its address.
	r.Addr = uint64(uintptr(unsafe.Pointer(&memory[0])))
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_UMEM_REG, uintptr(unsafe.Pointer(r)), unsafe.Sizeof(*r), 0)
	runtime.KeepAlive(memory)
	return asError("setsockopt XDP_UMEM_REG", errno)
}

func offsets(fd int) (o unix.XDPMmapOffsets, err error) {
	size := uint32(unsafe.Sizeof(o))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_MMAP_OFFSETS, uintptr(unsafe.Pointer(&o)), uintptr(unsafe.Pointer(&size)), 0)
	if errno == 0 && uintptr(size) != unsafe.Sizeof(o) {
		errno = unix.EOPNOTSUPP // before Linux 5.4 there were no flags
	}
	return o, asError("getsockopt XDP_MMAP_OFFSETS", errno)
}

func statistics(fd int) (s unix.XDPStatistics, err error) {
	size := uint32(unsafe.Sizeof(s))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_STATISTICS, uintptr(unsafe.Pointer(&s)), uintptr(unsafe.Pointer(&size)), 0)
	return s, asError("getsockopt XDP_STATISTICS", errno)
}

func asError(call string, errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return os.NewSyscallError(call, errno)
}
