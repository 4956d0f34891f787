package metrics

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func lent(t *testing.T) *os.File {
	t.Helper()
	f, err := Lend(os.Getpid(), Options{Size: MinSize, Instruments: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// again is what the other process gets.
func again(t *testing.T, f *os.File) *os.File {
	t.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "again")
}

func TestLentMemory(t *testing.T) {
	lender := lent(t)
	path := fmt.Sprintf("/proc/self/fd/%d", lender.Fd())
	if _, err := Open(path); !errors.Is(err, ErrNotReady) {
		t.Errorf("before it is borrowed: %v", err)
	}
	f, err := Borrow(again(t, lender))
	if err != nil {
		t.Fatal(err)
	}
	g, err := f.Gauge("level", "", "")
	if err != nil {
		t.Fatal(err)
	}
	g.Set(-7)
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if s, err := r.Snapshot(); err != nil || len(s.Samples) != 1 || s.Samples[0].Gauge != -7 || s.PID != os.Getpid() || !r.WriterAlive() {
		t.Errorf("%+v, %v", s, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if s, err := r.Snapshot(); err != nil || s.State != StateClosed {
		t.Errorf("closed: %+v, %v", s, err)
	}
}

// Who borrows can't take memory away from under readers, nor make it grow.
func TestLentMemoryKeepsItsSize(t *testing.T) {
	f := again(t, lent(t))
	defer f.Close()
	for _, size := range []int64{0, MinSize / 2, 2 * MinSize} {
		if err := f.Truncate(size); !errors.Is(err, unix.EPERM) {
			t.Errorf("truncating to %d: %v", size, err)
		}
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); !errors.Is(err, unix.EPERM) {
		t.Errorf("another seal: %v", err)
	}
}

func TestWhatCantBeBorrowed(t *testing.T) {
	memory := func(seals int, text string) *os.File {
		fd, err := unix.MemfdCreate("test", unix.MFD_ALLOW_SEALING)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "test")
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(MinSize); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
			t.Fatal(err)
		}
		return f
	}
	good := (&header{size: MinSize, capacity: 4}).encode()
	beyond := (&header{size: 2 * MinSize, capacity: 4}).encode()
	used := lent(t)
	first, err := Borrow(again(t, used))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		f    *os.File
		want error
	}{
		"a device":                      {null, ErrNotMetrics},
		"memory that can shrink":        {memory(unix.F_SEAL_GROW|unix.F_SEAL_SEAL, string(good)), ErrNotMetrics},
		"memory of something else":      {memory(lendSeals, "something else"), ErrNotMetrics},
		"a header that promises more":   {memory(lendSeals, string(beyond)), ErrTruncated},
		"memory that somebody works in": {again(t, used), ErrBusy},
	} {
		t.Run(name, func(t *testing.T) {
			if f, err := Borrow(tc.f); !errors.Is(err, tc.want) {
				t.Errorf("%v, %v; want %v", f, err, tc.want)
			}
			if _, err := tc.f.Stat(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("it was not closed: %v", err)
			}
		})
	}
	if _, err := Lend(1<<22+1, Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("for a process that is not there: %v", err)
	}
	if _, err := Lend(os.Getpid(), Options{Size: 1}); !errors.Is(err, ErrInvalid) {
		t.Errorf("too small: %v", err)
	}
}
