package ebpf

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// xdpLinkInfo is the front of struct bpf_link_info for a link of XDP, from
// linux/bpf.h. The kernel fills in as much as it is told there is room for.
type xdpLinkInfo struct {
	kind, id, program uint32
	_                 uint32 // what follows is aligned to 8 bytes
	ifindex           uint32
	_                 uint32
}

// linkInterface is the index of the interface to which the bpf_link with a
// descriptor is attached, 0 for none.
func linkInterface(fd int) (uint32, error) {
	var info xdpLinkInfo
	request := struct {
		fd, size uint32
		info     unsafe.Pointer
	}{uint32(fd), uint32(unsafe.Sizeof(info)), unsafe.Pointer(&info)}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_OBJ_GET_INFO_BY_FD, uintptr(unsafe.Pointer(&request)), unsafe.Sizeof(request))
	runtime.KeepAlive(&info)
	if errno != 0 {
		return 0, os.NewSyscallError("bpf BPF_OBJ_GET_INFO_BY_FD", errno)
	}
	return info.ifindex, nil
}
