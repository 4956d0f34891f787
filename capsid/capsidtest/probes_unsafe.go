package capsidtest

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ptr is the address of b's first byte, for system calls that x/sys lacks.
func ptr(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// raw makes a system call and returns its error; nil means that it was allowed.
func raw(number uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, e := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); e != 0 {
		return e
	}
	return nil
}

func text(s string) uintptr { return ptr(append([]byte(s), 0)) }
