package ring

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Kind is the shape of a ring.
type Kind uint32

// The shapes.
const (
	SPSC      Kind = 1
	MPSC      Kind = 2
	Broadcast Kind = 3
)

func (k Kind) String() string {
	switch k {
	case SPSC:
		return "spsc"
	case MPSC:
		return "mpsc"
	case Broadcast:
		return "broadcast"
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

// Options describe a ring to [Create].
type Options struct {
	// Kind is the shape; 0 means SPSC.
	Kind Kind
	// Size is the bytes of records: a power of two from MinSize to MaxSize.
	// 0 means DefaultSize.
	Size int
	// HugePages backs the ring by 2 MiB pages, which the host must have
	// reserved (vm.nr_hugepages). Only among peers that trust each other: a
	// hostile one can punch a hole into huge memory, and touching the hole
	// raises SIGBUS if no page is left to fill it.
	HugePages bool
	// Prefault maps every page at once, so that no first touch costs a fault
	// later. The memory itself is always allocated by Create.
	Prefault bool
	// Name shows in /proc/PID/maps as memfd:cell-NAME.
	Name string
}

// DefaultSize is the size of a ring of which nothing was said: it holds a
// thousand small vesicles and stays within the second-level cache.
const DefaultSize = 256 << 10

const (
	seals         = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	hugePage      = 2 << 20
	mfdHuge2MB    = 21 << 26 // MFD_HUGE_2MB, memfd_create(2)
	fallocRetries = 100
)

// Memory is the mapped, sealed memory of one ring. It belongs to whoever
// created or attached it; producers and consumers made from it must be out of
// use before Close. Its methods are not for concurrent use.
type Memory struct {
	fd      int
	mapping []byte
	control arena
	data    arena
	size    uint64
	kind    Kind
	huge    bool
	fixed   bool // mapped read-only
	guards  memoryGuards
}

// Create makes a ring: memory of this process that no name in the filesystem
// points to, allocated in full (a later shortage can't raise SIGBUS) and
// sealed against any change of its size. Pass FD to the peer, which calls
// [Attach]. Errors: ErrSize, ErrKind, ErrHugePages, ErrMemory.
func Create(o Options) (*Memory, error) {
	if o.Size == 0 {
		o.Size = DefaultSize
	}
	if o.Kind == 0 {
		o.Kind = SPSC
	}
	if o.Size < MinSize || o.Size > MaxSize || o.Size&(o.Size-1) != 0 {
		return nil, fmt.Errorf("%w: %d bytes asked for", ErrSize, o.Size)
	}
	if o.Kind > Broadcast {
		return nil, fmt.Errorf("%w: %v", ErrKind, o.Kind)
	}
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	if o.HugePages {
		flags |= unix.MFD_HUGETLB | mfdHuge2MB
	}
	fd, err := memfd("cell-"+o.Name, flags)
	if err != nil {
		return nil, memoryError(o.HugePages, "memfd_create", err)
	}
	m, err := create(fd, o)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return m, nil
}

// memfd adds MFD_NOEXEC_SEAL where the kernel knows it (6.3), because hosts
// may be set to refuse or to log its absence (vm.memfd_noexec).
func memfd(name string, flags int) (int, error) {
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(name, flags)
	}
	return fd, err
}

func create(fd int, o Options) (*Memory, error) {
	total := totalSize(o.Kind, uint64(o.Size), o.HugePages)
	if err := unix.Ftruncate(fd, int64(total)); err != nil {
		return nil, memoryError(o.HugePages, "ftruncate", err)
	}
	err := unix.EINTR
	for try := 0; errors.Is(err, unix.EINTR) && try < fallocRetries; try++ {
		err = errnoOf(unix.Fallocate(fd, 0, 0, int64(total)))
	}
	if err != 0 {
		return nil, memoryError(o.HugePages, fmt.Sprintf("fallocate of %d bytes", total), err)
	}
	m, err2 := mapMemory(fd, o.Kind, uint64(o.Size), total, o)
	if err2 != nil {
		return nil, err2
	}
	*m.control.u64(offMagic) = magic
	*m.control.word(offVersion) = version
	*m.control.word(offKind) = uint32(o.Kind)
	*m.control.u64(offSize) = uint64(o.Size)
	*m.control.word(offDataOffset) = uint32(dataOffset(o.Kind))
	if o.Kind != Broadcast { // until the sleepers say otherwise
		*m.control.word(offReaderSleep) = sleepNeedsFence
		*m.control.word(offWriterSleep) = sleepNeedsFence
	}
	want := seals
	if o.Kind == Broadcast {
		// Subscribers map read-only; the publisher's own mapping exists.
		want |= unix.F_SEAL_FUTURE_WRITE
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, want); err != nil {
		m.unmap()
		return nil, fmt.Errorf("%w: sealing failed: %w", ErrMemory, err)
	}
	return m, nil
}

func errnoOf(err error) unix.Errno {
	var e unix.Errno
	if err == nil || errors.As(err, &e) {
		return e
	}
	return unix.EIO
}

// Attach maps a ring that a peer created, after it has checked everything that
// the peer could have prepared: the seals, the size, magic, version and shape.
// It takes ownership of fd and closes it on error. Whether HugePages are
// acceptable from this peer (see [Options]) is the caller's to decide, before
// anything is made from the memory. Errors: ErrSeals, ErrFormat, ErrKind (want
// is another shape), ErrMemory.
func Attach(fd int, want Kind) (*Memory, error) {
	m, err := attach(fd, want)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return m, nil
}

func attach(fd int, want Kind) (*Memory, error) {
	have, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: descriptor %d has no seals (%w); pass one from ring.Create", ErrSeals, fd, err)
	}
	if have&seals != seals {
		return nil, fmt.Errorf("%w: seals are %#x, need %#x", ErrSeals, have, seals)
	}
	if want != Broadcast && have&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 {
		// It would be mapped read-only, and the first store would crash us.
		return nil, fmt.Errorf("%w: sealed against writing (%#x), which both sides of a ring must", ErrSeals, have)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("%w: fstat: %w", ErrMemory, err)
	}
	if st.Size < controlSize || uint64(st.Size) > totalSize(MPSC, MaxSize, true) {
		return nil, fmt.Errorf("%w: %d bytes", ErrFormat, st.Size)
	}
	// The kernel copies the head out: nothing is mapped before it is believed.
	var head [64]byte
	if n, err := unix.Pread(fd, head[:], 0); err != nil || n != len(head) {
		return nil, fmt.Errorf("%w: reading the head: %d bytes, %v", ErrFormat, n, err)
	}
	h := newArena(head[:])
	size, kind := *h.u64(offSize), Kind(*h.word(offKind))
	switch {
	case *h.u64(offMagic) != magic:
		return nil, fmt.Errorf("%w: wrong magic", ErrFormat)
	case *h.word(offVersion) != version:
		return nil, fmt.Errorf("%w: version %d, this program speaks %d", ErrFormat, *h.word(offVersion), version)
	case kind != want:
		return nil, fmt.Errorf("%w: it is %v, wanted %v", ErrKind, kind, want)
	case size < MinSize || size > MaxSize || size&(size-1) != 0:
		return nil, fmt.Errorf("%w: size %d", ErrFormat, size)
	case uint64(*h.word(offDataOffset)) != dataOffset(kind):
		return nil, fmt.Errorf("%w: records at offset %d", ErrFormat, *h.word(offDataOffset))
	}
	huge := uint64(st.Size) == totalSize(kind, size, true) && uint64(st.Blksize) >= hugePage
	if !huge && uint64(st.Size) != totalSize(kind, size, false) {
		return nil, fmt.Errorf("%w: %d bytes of memory for %d of records", ErrFormat, st.Size, size)
	}
	return mapMemory(fd, kind, size, uint64(st.Size), Options{HugePages: huge})
}

func dataOffset(k Kind) uint64 {
	if k == MPSC {
		return controlSize + slotCount*slotSize
	}
	return controlSize
}

func totalSize(k Kind, size uint64, huge bool) uint64 {
	t := dataOffset(k) + size
	if huge {
		t = (t + hugePage - 1) &^ (hugePage - 1)
	}
	return t
}

func mapMemory(fd int, k Kind, size, total uint64, o Options) (*Memory, error) {
	flags := unix.MAP_SHARED
	if o.Prefault {
		flags |= unix.MAP_POPULATE
	}
	prot := unix.PROT_READ | unix.PROT_WRITE
	if s, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err == nil && s&unix.F_SEAL_FUTURE_WRITE != 0 {
		prot = unix.PROT_READ
	}
	b, err := unix.Mmap(fd, 0, int(total), prot, flags)
	if err != nil {
		return nil, memoryError(o.HugePages, fmt.Sprintf("mmap of %d bytes", total), err)
	}
	// A child must not inherit the rings of its parent.
	if err := unix.Madvise(b, unix.MADV_DONTFORK); err != nil && !errors.Is(err, unix.EINVAL) {
		unix.Munmap(b)
		return nil, fmt.Errorf("%w: madvise: %w", ErrMemory, err)
	}
	return &Memory{
		fd: fd, mapping: b, size: size, kind: k, huge: o.HugePages, fixed: prot == unix.PROT_READ,
		control: newArena(b), data: newArena(b[dataOffset(k):]),
	}, nil
}

func memoryError(huge bool, what string, err error) error {
	if huge {
		return fmt.Errorf("%w: %s: %w; reserve some (sysctl vm.nr_hugepages=N) or leave HugePages off", ErrHugePages, what, err)
	}
	return fmt.Errorf("%w: %s: %w; check free memory, the cgroup's memory limit and RLIMIT_NOFILE", ErrMemory, what, err)
}

// FD returns the descriptor to pass to the peer, or -1 after CloseFD.
func (m *Memory) FD() int { return m.fd }

// Size returns the bytes of records.
func (m *Memory) Size() int { return int(m.size) }

// Kind returns the shape.
func (m *Memory) Kind() Kind { return m.kind }

// HugePages reports whether 2 MiB pages back the memory.
func (m *Memory) HugePages() bool { return m.huge }

// MaxPayload returns the most payload bytes of one record.
func (m *Memory) MaxPayload() int {
	if m.kind == Broadcast {
		return numberedMax(m.size)
	}
	return maxPayload(m.size)
}

// CloseFD closes the descriptor; the mapping stays. Once the peer has its own,
// a ring need not cost a descriptor.
func (m *Memory) CloseFD() error {
	if m.fd < 0 {
		return nil
	}
	fd := m.fd
	m.fd = -1
	return unix.Close(fd)
}

// Close unmaps the memory and closes the descriptor. Producers, consumers and
// payloads of this ring must not be used afterwards. A second Close does
// nothing.
func (m *Memory) Close() error {
	return errors.Join(m.unmap(), m.CloseFD())
}

func (m *Memory) unmap() error {
	if m.mapping == nil {
		return nil
	}
	b := m.mapping
	m.mapping = nil
	m.guards.close()
	return unix.Munmap(b)
}

// takeRole makes sure that nobody plays one side of a ring twice: the second
// one would corrupt it.
func (m *Memory) takeRole(off uint64, role string) error {
	if m.mapping == nil {
		return ErrClosed
	}
	if m.fixed {
		return fmt.Errorf("%w: this ring is mapped read-only, its %s is whoever created it", ErrInUse, role)
	}
	pid := uint32(os.Getpid())
	if w := m.control.word(off); !atomic.CompareAndSwapUint32(w, 0, pid) {
		return fmt.Errorf("%w: this ring's %s is process %d", ErrInUse, role, atomic.LoadUint32(w))
	}
	return nil
}
