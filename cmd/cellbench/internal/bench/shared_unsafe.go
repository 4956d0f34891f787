package bench

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// shared is plain memory that this process and its peer both map: two lines
// for the bare ping-pong, and room for bare copies.
type shared struct{ b []byte }

const (
	sharedSize  = sharedData + 8<<20
	sharedPing  = 0
	sharedPong  = 512
	sharedFlags = 4096 // one line for each slot
	sharedData  = 64 << 10
	maxSlots    = (sharedData - sharedFlags) / 64
)

// newShared makes the memory; the file is for the peer.
func newShared() (*shared, *os.File, error) {
	fd, err := unix.MemfdCreate("cellbench", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, nil, fmt.Errorf("memory for the limit: %w; raise RLIMIT_NOFILE (ulimit -n) if descriptors ran out", err)
	}
	f := os.NewFile(uintptr(fd), "cellbench")
	if err := f.Truncate(sharedSize); err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("memory for the limit: %w; raise RLIMIT_FSIZE (ulimit -f) if it is too large for that", err)
	}
	s, err := mapShared(fd)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return s, f, nil
}

func mapShared(fd int) (*shared, error) {
	b, err := unix.Mmap(fd, 0, sharedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("mapping %d bytes of memory for the limit: %w; raise RLIMIT_AS (ulimit -v) or the memory limit of the cgroup", sharedSize, err)
	}
	return &shared{b}, nil
}

// word returns the word at off, which is a multiple of eight.
func (s *shared) word(off int) *uint64 { return (*uint64)(unsafe.Pointer(&s.b[off])) }

// flag returns slot i's word.
func (s *shared) flag(i int) *uint64 { return s.word(sharedFlags + 64*i) }

// slot returns slot i of n bytes.
func (s *shared) slot(i, n int) []byte { return s.b[sharedData+i*n : sharedData+(i+1)*n] }

// clear makes all words zero again, for the next round.
func (s *shared) clear() {
	atomic.StoreUint64(s.word(sharedPing), 0)
	atomic.StoreUint64(s.word(sharedPong), 0)
	for i := range maxSlots {
		atomic.StoreUint64(s.flag(i), 0)
	}
}

func (s *shared) close() error { return unix.Munmap(s.b) }
