package metrics

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// maxClaimTries bounds how often claim starts over because another process
// created or replaced the file in between. Each round somebody makes progress.
const maxClaimTries = 16

// claim creates the file at path, empty and locked, and takes the place of
// one whose writer is dead. It never touches a file of a live writer or one
// that isn't a metrics file.
//
// Two signs tell that a writer lives. It holds flock(2) on the file: the
// kernel drops the lock at its death, whatever the cause, and the lock reaches
// across PID namespaces. And the header names its PID, start time and boot,
// which also works where the file system has no locks.
func claim(path string) (*os.File, error) {
	for range maxClaimTries {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
		if errors.Is(err, fs.ErrExist) {
			if err = evict(path); err != nil && !errors.Is(err, errAgain) {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("metrics: creating: %w", err)
		}
		// Between creation and lock another process may have taken this file
		// for a dead one and unlinked it.
		if err = lock(f); err == nil && stillAt(f, path) {
			return f, nil
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: %s is created and replaced by others all the time", ErrBusy, path)
}

// errAgain: the file changed hands while it was looked at.
var errAgain = errors.New("metrics: file was replaced")

// evict unlinks the metrics file of a dead writer.
func evict(path string) error {
	// O_NONBLOCK, so that a FIFO in the way can't hang the caller.
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return errAgain
	}
	if err != nil {
		return fmt.Errorf("metrics: looking at the file in the way: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("metrics: looking at the file in the way: %w", err)
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file (%v)", ErrNotMetrics, path, st.Mode().Type())
	}
	switch err := lock(f); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return fmt.Errorf("%w: %s is locked by its writer%s; stop it or choose another path", ErrBusy, path, writerOf(f))
	case err != nil:
		return err
	}
	if !stillAt(f, path) {
		return errAgain
	}
	// Empty: somebody died, or still is, between creating and locking. The
	// latter finds its file gone and starts over.
	if st.Size() > 0 {
		if err := dead(f, st.Size()); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	// The lock makes this the only process that may unlink this inode.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("metrics: removing a dead writer's file: %w", err)
	}
	return nil
}

// dead returns nil if f is a metrics file, whole or not, of a process that no
// longer runs.
func dead(f *os.File, size int64) error {
	b := make([]byte, offUsed)
	if _, err := f.ReadAt(b, 0); err != nil {
		return fmt.Errorf("%w, so it is left alone; remove it or choose another path", ErrNotMetrics)
	}
	h, err := decodeHeader(b, size)
	if errors.Is(err, ErrNotMetrics) {
		return fmt.Errorf("%w, so it is left alone; remove it or choose another path", err)
	}
	// With our magic but otherwise broken, or given up in mid-creation, it is
	// nobody's: its lock is free.
	if err == nil && h.state == StateLive && h.writer.alive() {
		return fmt.Errorf("%w: process %d; stop it or choose another path", ErrBusy, h.writer.pid)
	}
	return nil
}

// writerOf says for people whose file f is.
func writerOf(f *os.File) string {
	b := make([]byte, offUsed)
	if _, err := f.ReadAt(b, 0); err != nil {
		return ""
	}
	h, err := decodeHeader(b, MaxSize)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(", process %d", h.writer.pid)
}

// lock takes the exclusive lock without waiting. On a file system without
// locks it does nothing.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case err == nil, errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOLCK):
		return nil
	}
	return fmt.Errorf("metrics: locking %s: %w", f.Name(), err)
}

// stillAt reports whether path names the very file that f is.
func stillAt(f *os.File, path string) bool {
	have, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(have, there)
}
