package xsk_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/xsk"
)

// A socket that was handed over is closed, whatever is wrong.
func TestOpenClosesWhatItWasGiven(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	fd, err := unix.FcntlInt(uintptr(pair[0]), unix.F_DUPFD_CLOEXEC, 500) // a number that nobody takes again
	if err != nil {
		t.Fatal(err)
	}
	if s, err := xsk.Open(nil, xsk.Config{FD: fd, Rx: 33, Fill: 64, Completion: 64}); err == nil {
		t.Errorf("a ring of 33 entries: %v", s.Close())
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
		t.Errorf("the descriptor is still open: %v", err)
	}
}
