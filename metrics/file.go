package metrics

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Defaults of [Options].
const (
	DefaultSize        = 4 << 20
	DefaultInstruments = 256
)

// Options size a file. It never grows: a file that grew would have to be
// mapped anew under the instruments that point into it.
type Options struct {
	// Size is the size of the whole file in bytes, rounded up to pages:
	// [MinSize] to [MaxSize], by default [DefaultSize]. A counter takes 8 to
	// 128 bytes, a histogram with default options 272 KiB. All of it is
	// allocated at once.
	Size int64
	// Instruments is how many instruments the file can name, by default
	// [DefaultInstruments], at most [MaxInstruments]. Each takes 512 bytes of
	// Size.
	Instruments int
}

// File is the writer's side of a metrics file. Its methods may be called from
// any goroutine; those of the instruments it hands out may not.
type File struct {
	path string
	fd   *os.File // holds the lock; nil if anonymous
	mem  *memory
	own  *Writer // of the instruments registered at the File itself

	mu       sync.Mutex
	capacity int
	count    int
	next     int64 // first free byte
	keys     map[string]struct{}
	families map[string]*descriptor
	writers  map[string]*Writer
	reader   *Reader // of this very memory, made on demand
	closed   bool
}

// Create creates the file at path, mode 0600, and maps it. A file of a dead
// writer is replaced; one whose writer lives is refused with [ErrBusy], and
// one that isn't a metrics file with [ErrNotMetrics].
//
// Put it on a tmpfs (/run, /dev/shm, $XDG_RUNTIME_DIR): on a disk the kernel
// write-protects pages while it writes them back, and a store into such a page
// waits for the disk. The memory is reserved at once, so a full file system is
// an error here and not a SIGBUS later. Whoever may write to the file can
// still truncate it under the writer; that is what mode 0600 is for.
func Create(path string, o Options) (*File, error) {
	size, instruments, err := o.resolve()
	if err != nil {
		return nil, err
	}
	self, err := thisProcess()
	if err != nil {
		return nil, err
	}
	fd, err := claim(path)
	if err != nil {
		return nil, err
	}
	h := header{size: size, capacity: instruments, writer: self, created: time.Now()}
	mem, err := prepare(fd, &h)
	if err != nil {
		_ = os.Remove(path) // ours: claim locked it
		_ = fd.Close()
		return nil, err
	}
	f := newFile(mem, &h)
	f.path, f.fd = path, fd
	return f, nil
}

// Anonymous returns a File in this process's own memory, for programs that
// publish nothing and for tests. [File.Snapshot] reads it.
func Anonymous(o Options) (*File, error) {
	size, instruments, err := o.resolve()
	if err != nil {
		return nil, err
	}
	h := header{size: size, capacity: instruments, writer: process{pid: os.Getpid()}, created: time.Now()}
	mem := newHeapMemory(size)
	if _, err := mem.WriteAt(h.encode(), 0); err != nil {
		return nil, err
	}
	return newFile(mem, &h), nil
}

func (o Options) resolve() (size int64, instruments int, err error) {
	size, instruments = o.Size, o.Instruments
	if size == 0 {
		size = DefaultSize
	}
	if instruments == 0 {
		instruments = DefaultInstruments
	}
	if size < MinSize || size > MaxSize {
		return 0, 0, fmt.Errorf("%w: size %d; %d to %d bytes can be had", ErrInvalid, size, MinSize, MaxSize)
	}
	size = alignUp(size, int64(os.Getpagesize()))
	if instruments < 1 || instruments > MaxInstruments || valuesAt(instruments) >= size {
		return 0, 0, fmt.Errorf("%w: %d instruments in %d bytes; each takes %d beside its value, and %d are the most",
			ErrInvalid, instruments, size, descriptorSize, MaxInstruments)
	}
	return size, instruments, nil
}

// prepare gives an empty file its header, in which it is still being created,
// and its size, and maps it.
func prepare(fd *os.File, h *header) (*memory, error) {
	// The header first: if this process dies in between, the next one must
	// recognise what it finds.
	if _, err := fd.WriteAt(h.encode(), 0); err != nil {
		return nil, fmt.Errorf("metrics: writing the header: %w", err)
	}
	if err := reserve(fd, headerSize, h.size); err != nil {
		return nil, fmt.Errorf("metrics: reserving %d bytes for %s; free some or choose a smaller Options.Size: %w", h.size, fd.Name(), err)
	}
	return mapFile(fd, h.size)
}

// reserve makes the file size bytes long, zero from the offset from on, and
// all of it allocated: a store into a hole of a full file system would kill
// the process.
func reserve(fd *os.File, from, size int64) error {
	err := unix.Fallocate(int(fd.Fd()), 0, 0, size)
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	zero := make([]byte, 64<<10)
	for at := from; at < size; {
		n, err := fd.WriteAt(zero[:min(int64(len(zero)), size-at)], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// newFile publishes the header that is in mem already.
func newFile(mem *memory, h *header) *File {
	atomic.StoreUint64(&mem.words[offState/8], uint64(StateLive))
	f := &File{
		mem: mem, capacity: h.capacity, next: valuesAt(h.capacity),
		keys: map[string]struct{}{}, families: map[string]*descriptor{}, writers: map[string]*Writer{},
	}
	f.own = &Writer{f: f}
	return f
}

// Path returns where the file is, or "" if it is anonymous.
func (f *File) Path() string { return f.path }

// Snapshot reads the file's own instruments, like [Reader.Snapshot] but
// without a system call. It also works after Close.
func (f *File) Snapshot() (*Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reader == nil {
		r, err := NewReader(f.mem, f.mem.size())
		if err != nil {
			return nil, err
		}
		f.reader = r
	}
	return f.reader.Snapshot()
}

// Close marks the file as closed and gives up its lock; it stays where it is,
// readable, until removed or replaced. Instruments may be used afterwards: the
// memory is unmapped when the last of them is garbage. A second Close does
// nothing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	atomic.StoreUint64(&f.mem.words[offState/8], uint64(StateClosed))
	if f.fd == nil {
		return nil
	}
	// Closing the descriptor would not end the lock: it belongs to the open
	// file description, to which the mapping holds on.
	err := unix.Flock(int(f.fd.Fd()), unix.LOCK_UN)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOLCK) {
		err = nil
	}
	if err = errors.Join(err, f.fd.Close()); err != nil {
		return fmt.Errorf("metrics: closing: %w", err)
	}
	return nil
}
