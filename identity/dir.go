package identity

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrDir: the directory of a node's identity, or a file in it, can't be
// trusted or used.
var ErrDir = errors.New("identity: unsafe directory or file")

// dir is an open directory that belongs to this user and that nobody else may
// enter. Its files are opened relative to the descriptor, so nobody can
// exchange the directory in between.
type dir struct {
	path string
	fd   int
}

// openDir opens path, and makes it with mode 0700 if it is not there and
// create is set.
func openDir(path string, create bool) (*dir, error) {
	if create {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("%w: can't make %s: %w; %s names another one", ErrDir, path, err, EnvDir)
		}
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: can't open the directory %s: %w; %s", ErrDir, path, err, mendDir(err))
	}
	d := &dir{path: path, fd: fd}
	if err := d.check(); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// mendDir says what to do about a directory that can't be opened.
func mendDir(err error) string {
	switch {
	case errors.Is(err, unix.ENOENT):
		return "a node makes it with its key, at its first start (cellnode id)"
	case errors.Is(err, unix.EACCES):
		return fmt.Sprintf("it is for its owner alone: become that user, or have %s name a directory of your own", EnvDir)
	}
	return "it must be a directory and no symbolic link"
}

func (d *dir) check() error {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDir, d.path, err)
	}
	return checkOwner(d.path, &st, "700")
}

// checkOwner refuses what belongs to another user or is open to others.
func checkOwner(path string, st *unix.Stat_t, want string) error {
	switch me := uint32(os.Geteuid()); {
	case st.Uid != me:
		return fmt.Errorf("%w: %s belongs to uid %d and this process is uid %d; chown it, or use a directory of your own",
			ErrDir, path, st.Uid, me)
	case st.Mode&0o077 != 0:
		return fmt.Errorf("%w: %s has mode %04o, so others may read or change it; chmod %s %s",
			ErrDir, path, st.Mode&0o7777, want, path)
	}
	return nil
}

func (d *dir) close() { _ = unix.Close(d.fd) }

func (d *dir) name(file string) string { return d.path + "/" + file }

// lock keeps other processes from changing the directory's files until unlock
// is called. The kernel drops it with the process.
func (d *dir) lock() (unlock func(), err error) {
	for {
		switch err := unix.Flock(d.fd, unix.LOCK_EX); {
		case err == nil:
			return func() { _ = unix.Flock(d.fd, unix.LOCK_UN) }, nil
		case !errors.Is(err, unix.EINTR):
			return nil, fmt.Errorf("%w: can't lock %s: %w", ErrDir, d.path, err)
		}
	}
}

// read returns a file's content, at most limit bytes, and when and as what it
// was read. private files must be this user's and closed to others; of the
// rest it is enough that nobody else may write them. A file that is not there
// is an error that wraps os.ErrNotExist.
func (d *dir) read(file string, limit int, private bool) ([]byte, unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := unix.Openat(d.fd, file, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, st, fmt.Errorf("%w: %s is a symbolic link; put the file itself there", ErrDir, d.name(file))
	}
	if err != nil {
		return nil, st, fmt.Errorf("identity: can't open %s: %w", d.name(file), err)
	}
	f := os.NewFile(uintptr(fd), file)
	defer f.Close()
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, st, fmt.Errorf("identity: %s: %w", d.name(file), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, st, fmt.Errorf("%w: %s is no plain file; remove it", ErrDir, d.name(file))
	}
	if private {
		if err := checkOwner(d.name(file), &st, "600"); err != nil {
			return nil, st, err
		}
	} else if st.Mode&0o022 != 0 {
		return nil, st, fmt.Errorf("%w: %s has mode %04o, so others may change it; chmod 600 %s",
			ErrDir, d.name(file), st.Mode&0o7777, d.name(file))
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	switch {
	case err != nil:
		return nil, st, fmt.Errorf("identity: reading %s: %w", d.name(file), err)
	case len(data) > limit:
		return nil, st, fmt.Errorf("%w: %s is longer than %d bytes", ErrDir, d.name(file), limit)
	}
	return data, st, nil
}

// write replaces a file so that whoever reads it finds the old or the new
// content, whole, also after a crash. The caller holds the lock, so the
// temporary name is nobody else's; one that a killed process left is replaced.
func (d *dir) write(file string, data []byte) error {
	temporary := file + ".new"
	if err := unix.Unlinkat(d.fd, temporary, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("identity: can't remove %s: %w", d.name(temporary), err)
	}
	fd, err := unix.Openat(d.fd, temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("identity: can't make %s: %w", d.name(temporary), err)
	}
	f := os.NewFile(uintptr(fd), temporary)
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = unix.Renameat(d.fd, temporary, d.fd, file)
	}
	if err != nil {
		_ = unix.Unlinkat(d.fd, temporary, 0)
		return fmt.Errorf("identity: writing %s: %w; it is as it was", d.name(file), err)
	}
	if err := unix.Fsync(d.fd); err != nil {
		return fmt.Errorf("identity: fsync of %s: %w", d.path, err)
	}
	return nil
}

// remove removes a file that may not be there.
func (d *dir) remove(file string) error {
	if err := unix.Unlinkat(d.fd, file, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("identity: can't remove %s: %w", d.name(file), err)
	}
	return nil
}

// changeDir locks the directory and calls f in it.
func changeDir(path string, create bool, f func(*dir) error) error {
	d, err := openDir(path, create)
	if err != nil {
		return err
	}
	defer d.close()
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return f(d)
}
