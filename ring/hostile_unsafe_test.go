package ring

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guardBand is how many untouchable bytes lie before and behind fenced memory:
// more than any span or length that fits the tests' rings can skip.
const guardBand = 1 << 20

// fenced maps m a second time, with untouchable memory around it, so that any
// access outside the ring ends the process.
func fenced(t testing.TB, m *Memory) *Memory {
	t.Helper()
	total := uintptr(totalSize(m.kind, m.size, false))
	all, err := unix.MmapPtr(-1, 0, nil, total+2*guardBand, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	middle := unsafe.Add(all, guardBand)
	at, err := unix.MmapPtr(m.fd, 0, middle, total, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED)
	if err != nil || at != middle {
		t.Fatalf("mapping in the middle: at %p instead of %p, %v", at, middle, err)
	}
	b := unsafe.Slice((*byte)(middle), total)
	f := &Memory{
		fd: -1, mapping: b, size: m.size, kind: m.kind,
		control: newArena(b), data: newArena(b[dataOffset(m.kind):]),
	}
	t.Cleanup(func() {
		f.mapping = nil
		f.guards.close()
		if err := unix.MunmapPtr(all, total+2*guardBand); err != nil {
			t.Error(err)
		}
	})
	return f
}
