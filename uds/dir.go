package uds

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrDir: the runtime directory can't be trusted or used.
var ErrDir = errors.New("uds: runtime directory refused")

// EnvDir names the environment variable that overrides the runtime directory.
const EnvDir = "CELL_RUNTIME_DIR"

// rootDir is where root's sockets live. XDG_RUNTIME_DIR is not consulted for
// root: a daemon has none and a login shell has one, and the two must meet.
const rootDir = "/run/cell"

// RuntimeDir returns the directory in which sockets are looked for when
// [Options].Dir is empty: $CELL_RUNTIME_DIR, else /run/cell for root, else
// $XDG_RUNTIME_DIR/cell. The directory need not exist: [Listen] makes it.
// Error: ErrDir.
func RuntimeDir() (string, error) {
	if d := os.Getenv(EnvDir); d != "" {
		return d, nil
	}
	if os.Geteuid() == 0 {
		return rootDir, nil
	}
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "cell"), nil
	}
	return "", fmt.Errorf("%w: neither %s nor XDG_RUNTIME_DIR is set; set %s to a directory that only you can write to", ErrDir, EnvDir, EnvDir)
}

// runtimeDir is a directory that was checked and is held open, so that files
// in it are reached through the descriptor: whoever exchanges the path
// afterwards exchanges nothing.
type runtimeDir struct {
	path string
	fd   int
}

func (d *runtimeDir) close() { unix.Close(d.fd) }

// resolveDir returns dir, or the default where it is empty, as a clean
// absolute path. A trailing slash would make the kernel follow a symlink.
func resolveDir(dir string) (string, error) {
	if dir == "" {
		var err error
		if dir, err = RuntimeDir(); err != nil {
			return "", err
		}
	}
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("%w: %q is not an absolute path", ErrDir, dir)
	}
	return filepath.Clean(dir), nil
}

// openDir checks path and opens it. A listener makes it if it is missing and
// must own it; a dialer also accepts root's, since root could do anything
// anyway.
func openDir(path string, listener bool) (*runtimeDir, error) {
	if listener {
		if err := unix.Mkdir(path, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("%w: can't make %s: %w; make its parent, or set %s to another directory", ErrDir, path, err, EnvDir)
		}
	}
	if err := checkParents(path); err != nil {
		return nil, err
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openDirError(path, err)
	}
	if err := checkDir(path, fd, listener); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &runtimeDir{path: path, fd: fd}, nil
}

func openDirError(path string, err error) error {
	if st, e := os.Lstat(path); e == nil && st.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%w: %s is a symbolic link, by which somebody could lead programs astray; remove it or name its target in %s", ErrDir, path, EnvDir)
	}
	return fmt.Errorf("%w: can't open %s: %w", ErrDir, path, err)
}

func checkDir(path string, fd int, listener bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDir, path, err)
	}
	me := uint32(os.Geteuid())
	switch {
	case st.Uid != me && (listener || st.Uid != 0):
		return fmt.Errorf("%w: %s belongs to uid %d and this process is uid %d; use a directory of your own (%s)", ErrDir, path, st.Uid, me, EnvDir)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("%w: %s has mode %04o, so others could put sockets there; chmod 700 %s", ErrDir, path, st.Mode&0o7777, path)
	}
	return nil
}

// checkParents refuses a path with a directory on it that anybody may write to
// and that is not sticky: there, anybody could exchange what lies below.
func checkParents(path string) error {
	for p := filepath.Dir(path); ; p = filepath.Dir(p) {
		var st unix.Stat_t
		if err := unix.Stat(p, &st); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDir, p, err)
		}
		if st.Mode&0o002 != 0 && st.Mode&unix.S_ISVTX == 0 {
			return fmt.Errorf("%w: anybody can exchange %s, because %s has mode %04o without the sticky bit; chmod +t or o-w it, or set %s", ErrDir, path, p, st.Mode&0o7777, EnvDir)
		}
		if p == filepath.Dir(p) {
			return nil
		}
	}
}
