package uds

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A claim on a name is a lock file beside the socket, held with flock(2) for
// the listener's life. The kernel drops the lock with the process, however it
// ends, so whoever holds it knows that a socket found there is nobody's: there
// is no moment between looking and binding in which two could think so.
//
// The file itself is removed at the end, so it must be made sure after locking
// that it is still the one in the directory.
type lockFile struct {
	dir  *runtimeDir
	name string
	fd   int
}

const (
	lockTries = 100
	pidWait   = time.Millisecond // for the winner of a race to write its pid
	pidTries  = 50
)

// lock takes the name. Error: ErrInUse.
func lock(dir *runtimeDir, service string) (*lockFile, error) {
	name := service + lockSuffix
	for range lockTries {
		fd, err := unix.Openat(dir.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, fmt.Errorf("uds: can't open the lock file %s/%s: %w; if something else lies there, remove it", dir.path, name, err)
		}
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = inUse(dir, service, readPID(fd))
			unix.Close(fd)
			return nil, err
		}
		if err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("uds: flock of %s/%s: %w", dir.path, name, err)
		}
		l := &lockFile{dir: dir, name: name, fd: fd}
		same, err := l.isNamed()
		if err == nil && same {
			if err = l.writePID(); err == nil {
				return l, nil
			}
		}
		unix.Close(fd)
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("uds: the lock file %s/%s was exchanged %d times while it was being taken", dir.path, name, lockTries)
}

func inUse(dir *runtimeDir, service string, pid int) error {
	who := "a process"
	if pid != 0 {
		who = fmt.Sprintf("process %d", pid)
	}
	return fmt.Errorf("%w: %s listens as %q in %s; stop it or choose another name", ErrInUse, who, service, dir.path)
}

// isNamed says whether the locked file is the one in the directory, and
// refuses one that is no plain file of this user.
func (l *lockFile) isNamed() (bool, error) {
	var open, named unix.Stat_t
	if err := unix.Fstat(l.fd, &open); err != nil {
		return false, fmt.Errorf("uds: fstat of %s/%s: %w", l.dir.path, l.name, err)
	}
	if open.Mode&unix.S_IFMT != unix.S_IFREG || open.Uid != uint32(os.Geteuid()) {
		return false, fmt.Errorf("%w: %s/%s is no plain file of this user; remove it", ErrDir, l.dir.path, l.name)
	}
	err := unix.Fstatat(l.dir.fd, l.name, &named, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil && open.Dev == named.Dev && open.Ino == named.Ino, err
}

// writePID lets losers name the winner. Truncating comes first: a reader sees
// nothing or a whole pid, since both are a few bytes in one write.
func (l *lockFile) writePID() error {
	err := unix.Ftruncate(l.fd, 0)
	if err == nil {
		_, err = unix.Pwrite(l.fd, fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	if err != nil {
		return fmt.Errorf("uds: writing %s/%s: %w; a full disk needs room there, or another directory (%s)", l.dir.path, l.name, err, EnvDir)
	}
	return nil
}

// readPID returns who holds the lock, as it wrote, or 0. In the moment after
// it took the lock the file is empty or still names a dead process.
func readPID(fd int) int {
	var pid int
	for range pidTries {
		var b [32]byte
		n, err := unix.Pread(fd, b[:], 0)
		if err != nil {
			return 0
		}
		pid, err = strconv.Atoi(string(bytes.TrimSuffix(b[:n], []byte("\n"))))
		if err == nil && pid > 0 && !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			return pid
		}
		time.Sleep(pidWait)
	}
	return max(pid, 0) // of another pid namespace, perhaps
}

// release removes the file and drops the lock, in this order: afterwards the
// file might be another's.
func (l *lockFile) release() error {
	var err error
	if same, e := l.isNamed(); e == nil && same {
		err = unix.Unlinkat(l.dir.fd, l.name, 0)
	}
	return errors.Join(err, unix.Close(l.fd))
}
