package uds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketFile is the name of a listening socket in the filesystem.
type socketFile struct {
	dir  *runtimeDir
	name string
	dev  uint64
	ino  uint64
}

// clearStale removes the socket of a dead process. The caller holds the lock of
// the name, so a living listener of this package is out of the question; but
// the lock file may have been removed by hand, or the socket be a stranger's,
// so it is asked once more whether anybody answers.
func clearStale(dir *runtimeDir, service, path string) error {
	name := service + socketSuffix
	var st unix.Stat_t
	err := unix.Fstatat(dir.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("uds: %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("%w: %s is no socket and not this package's to delete; remove it", ErrDir, path)
	}
	pid, err := probe(path)
	switch {
	case err == nil:
		return inUse(dir, service, pid)
	case !errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("uds: can't tell whether somebody listens at %s: %w; remove it if nobody does", path, err)
	}
	if err := unix.Unlinkat(dir.fd, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("uds: can't remove the stale socket %s: %w", path, err)
	}
	return nil
}

// probe connects and hangs up. A nil error means that somebody listens; the
// pid is 0 if its queue was full.
func probe(path string) (pid int, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	if errors.Is(err, unix.EAGAIN) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
		pid = int(cred.Pid)
	}
	return pid, nil
}

// bind listens at path with the file's mode being right from its first moment:
// Linux takes it from the socket's own inode (net/unix/af_unix.c,
// unix_bind_bsd), less the umask.
func bind(dir *runtimeDir, service, path string, mode os.FileMode) (*net.UnixListener, *socketFile, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), uint32(mode)) }); e != nil {
			return e
		}
		return err
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, nil, fmt.Errorf("uds: can't listen at %s: %w", path, err)
	}
	ul := l.(*net.UnixListener)
	ul.SetUnlinkOnClose(false) // it would remove whatever lies there by then
	f := &socketFile{dir: dir, name: service + socketSuffix}
	var st unix.Stat_t
	if err := unix.Fstatat(dir.fd, f.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		ul.Close()
		return nil, nil, fmt.Errorf("%w: the socket did not appear in %s, which was exchanged meanwhile: %w", ErrDir, dir.path, err)
	}
	f.dev, f.ino = uint64(st.Dev), st.Ino
	// The umask may have taken bits away that were asked for.
	if st.Mode&0o7777 != uint32(mode) {
		if err := unix.Fchmodat(dir.fd, f.name, uint32(mode), 0); err != nil {
			ul.Close()
			_ = f.remove()
			return nil, nil, fmt.Errorf("uds: chmod of %s: %w", path, err)
		}
	}
	return ul, f, nil
}

// remove removes the file if it is still the one that was made.
func (f *socketFile) remove() error {
	var st unix.Stat_t
	err := unix.Fstatat(f.dir.fd, f.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) || err == nil && (uint64(st.Dev) != f.dev || st.Ino != f.ino) {
		return nil
	}
	if err == nil {
		err = unix.Unlinkat(f.dir.fd, f.name, 0)
	}
	return err
}
