package metrics

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// memory is the words of a metrics file: a mapping, or the Go heap for an
// anonymous one.
//
// A mapping is unmapped when the last File or instrument that refers to its
// memory is unreachable, not by Close: a counter that is bumped once more
// during shutdown must not be a segmentation fault.
type memory struct {
	words []uint64
}

func newHeapMemory(size int64) *memory {
	return &memory{words: make([]uint64, size/8)}
}

// mapFile maps the first size bytes of fd, shared and writable.
func mapFile(fd *os.File, size int64) (*memory, error) {
	b, err := unix.Mmap(int(fd.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("metrics: mapping %d bytes of %s: %w", size, fd.Name(), err)
	}
	// Page faults now rather than in the hot path. Best effort: kernels before
	// 5.14 don't know the advice, and then the first touch of a page is slow.
	_ = unix.Madvise(b, unix.MADV_POPULATE_WRITE)
	words, err := wordsOf(b)
	if err != nil {
		_ = unix.Munmap(b)
		return nil, err
	}
	m := &memory{words: words}
	runtime.AddCleanup(m, func(b []byte) { _ = unix.Munmap(b) }, b)
	return m, nil
}

// size returns the size in bytes.
func (m *memory) size() int64 { return int64(len(m.words)) * 8 }

// ReadAt makes memory readable by a [Reader], which is how a process reads its
// own instruments. Words are loaded atomically and in ascending order.
func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off%8 != 0 || len(p)%8 != 0 {
		return 0, fmt.Errorf("%w: read of %d bytes at %d is not aligned", ErrInvalid, len(p), off)
	}
	n := 0
	for i := off / 8; n < len(p); i++ {
		if i >= int64(len(m.words)) {
			return n, io.EOF
		}
		binary.NativeEndian.PutUint64(p[n:], atomic.LoadUint64(&m.words[i]))
		n += 8
	}
	runtime.KeepAlive(m)
	return n, nil
}

// WriteAt writes bytes that no reader looks at yet: a header or descriptor
// before it is published.
func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off%8 != 0 || len(p)%8 != 0 || off+int64(len(p)) > m.size() {
		return 0, fmt.Errorf("%w: write of %d bytes at %d", ErrInvalid, len(p), off)
	}
	for i := 0; i < len(p); i += 8 {
		atomic.StoreUint64(&m.words[(off+int64(i))/8], binary.NativeEndian.Uint64(p[i:]))
	}
	runtime.KeepAlive(m)
	return len(p), nil
}
