package metrics

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Lend returns memory in which another process is to show its metrics: one that
// sees no runtime directory, as behind the walls of a sandbox. It is a file of no
// directory, which holds the header already and names process pid as its writer,
// as this process's pid namespace knows it; its size can't be changed any more, by
// nobody. The other process gets the descriptor and calls [Borrow]; who keeps the
// file open lets readers have it by a link to /proc/PID/fd/N, which [Open] follows.
//
// The writer's memory is charged to the writer, at its first store. Errors:
// ErrInvalid, or the kernel's.
func Lend(pid int, o Options) (*os.File, error) {
	size, instruments, err := o.resolve()
	if err != nil {
		return nil, err
	}
	h := header{size: size, capacity: instruments, created: time.Now()}
	if h.writer, err = processOf(pid); err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("metrics", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("metrics: memory for process %d: %w", pid, err)
	}
	f := os.NewFile(uintptr(fd), "metrics")
	_, err = f.WriteAt(h.encode(), 0)
	if err = errors.Join(err, f.Truncate(size), f.Chmod(0o600)); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, lendSeals)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("metrics: memory for process %d: %w", pid, err), f.Close())
	}
	return f, nil
}

// lendSeals keep a size, so that no store of the writer is beyond the end.
const lendSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// Borrow maps memory that another process has made for this one by [Lend]. It owns
// fd, also where it fails. The other process may be replaced and may not be hostile:
// what it says of the sizes is checked, what it writes is not. Errors:
// ErrNotMetrics, ErrBusy where instruments are in it already, or the kernel's.
func Borrow(fd *os.File) (*File, error) {
	defer fd.Close() // the mapping lasts
	seals, err := unix.FcntlInt(fd.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || seals&lendSeals != lendSeals {
		return nil, fmt.Errorf("%w: not memory of a fixed size (seals %#x, %v)", ErrNotMetrics, seals, err)
	}
	st, err := fd.Stat()
	if err != nil {
		return nil, fmt.Errorf("metrics: borrowed memory: %w", err)
	}
	b := make([]byte, offUsed)
	if _, err := fd.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("%w: borrowed memory: %w", ErrNotMetrics, err)
	}
	if ne := binary.NativeEndian; State(ne.Uint64(b[offState:])) != StateCreating || ne.Uint64(b[offCount:]) != 0 {
		return nil, fmt.Errorf("%w: what was lent is in use", ErrBusy)
	}
	binary.NativeEndian.PutUint64(b[offState:], uint64(StateLive)) // as it is about to be
	h, err := decodeHeader(b, st.Size())
	if err != nil {
		return nil, err
	}
	if err := reserve(fd, headerSize, h.size); err != nil {
		return nil, fmt.Errorf("metrics: reserving %d bytes of borrowed memory: %w", h.size, err)
	}
	mem, err := mapFile(fd, h.size)
	if err != nil {
		return nil, err
	}
	return newFile(mem, &h), nil
}
