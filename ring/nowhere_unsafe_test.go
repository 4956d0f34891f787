package ring

import (
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What golang.org/x/sys lacks of userfaultfd(2).
type (
	uffdioAPI      struct{ api, features, ioctls uint64 }
	uffdioRegister struct{ start, len, mode, ioctls uint64 }
)

const (
	uffdAPI            = 0xaa
	uffdioAPINumber    = 0xc018aa3f
	uffdioRegisterCall = 0xc020aa00
	uffdioModeMissing  = 1
)

// readIntoNowhere has a thread read from fd into memory that never comes, and
// returns once it is within that read. The returned function ends it.
func readIntoNowhere(t *testing.T, fd int) (release func()) {
	t.Helper()
	uffd, _, e := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK, 0, 0) // poll(2) wants the latter
	if e != 0 {
		t.Skipf("no userfaultfd for the kernel's own faults: %v", e)
	}
	page, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	api := uffdioAPI{api: uffdAPI}
	reg := uffdioRegister{start: uint64(uintptr(unsafe.Pointer(&page[0]))), len: uint64(len(page)), mode: uffdioModeMissing}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uffd, uffdioAPINumber, uintptr(unsafe.Pointer(&api))); e != 0 {
		t.Fatal(e)
	}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uffd, uffdioRegisterCall, uintptr(unsafe.Pointer(&reg))); e != 0 {
		t.Fatal(e)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _, _ = unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&page[0])), 1, unix.MSG_DONTWAIT, 0, 0)
	}()
	fds := []unix.PollFd{{Fd: int32(uffd), Events: unix.POLLIN}} // readable: it faults
	for end := time.Now().Add(10 * time.Second); ; {
		if n, err := unix.Poll(fds, 100); n > 0 && fds[0].Revents&unix.POLLIN != 0 {
			break
		} else if err != nil && err != unix.EINTR || time.Now().After(end) {
			t.Fatalf("the peer does not fault: this test shows nothing (%v)", err)
		}
	}
	return func() {
		_ = unix.Close(int(uffd)) // then the page comes
		<-done
		_ = unix.Munmap(page)
	}
}
