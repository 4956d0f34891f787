package ebpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// claim says that a process which lives has a UDP port in a chain, since what is
// pinned there says nothing of who has pinned it. It is a lock on a folder beside
// libxdp's, which only root may make or open: it ends with the process, and nobody
// else can hold the name. The folder of a process that was killed stays, until the
// next one for the port has it.
//
//	/sys/fs/bpf/xdp/cell-NAMESPACE-IFINDEX-PORT
type claim struct {
	path   string
	folder *os.File
}

// claimPort claims a port of an interface of the calling thread's network
// namespace. Errors: ErrOccupied.
func claimPort(ifindex int, port uint16) (*claim, error) {
	namespace, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("ebpf: which network namespace is this: %w", err)
	}
	number := uint64(0)
	if s, ok := namespace.Sys().(*syscall.Stat_t); ok {
		number = s.Ino
	}
	c := &claim{path: filepath.Join(chainRoot(), fmt.Sprintf("cell-%d-%d-%d", number, ifindex, port))}
	for {
		if err := os.Mkdir(c.path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, rootError(err)
		}
		if c.folder, err = os.Open(c.path); errors.Is(err, fs.ErrNotExist) {
			continue // its owner has just gone
		} else if err != nil {
			return nil, fmt.Errorf("ebpf: claiming UDP port %d beside libxdp's programs: %w", port, err)
		}
		err = unix.Flock(int(c.folder.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w: another process has UDP port %d in the chain of %s", ErrOccupied, port, name(ifindex))
		}
		if err != nil {
			return nil, errors.Join(err, c.folder.Close())
		}
		if c.current() {
			return c, nil
		}
		_ = c.folder.Close() // its owner removed it between the two
	}
}

// current says whether the folder that is locked is still the one of that name.
func (c *claim) current() bool {
	locked, err := c.folder.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(c.path)
	return err == nil && os.SameFile(locked, named)
}

// Close gives the claim up.
func (c *claim) Close() error {
	return errors.Join(os.Remove(c.path), c.folder.Close())
}
