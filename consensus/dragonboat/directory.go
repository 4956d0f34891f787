//go:build !nodragonboat && !s390x

package dragonboat

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cell-runtime/cell/consensus"
)

// A data directory has files of ours, which are checked before dragonboat
// touches anything (and cell-raft.marks: see marks.go):
//
//	cell-raft.json   whose it is, and how it was written; the last line is a
//	                 checksum of what is above
//	cell-raft.lock   locked by flock(2) while a process uses the directory
const (
	identityFile = "cell-raft.json"
	lockFile     = "cell-raft.lock"
	// dirFormat grows when an older program could no longer read the directory.
	dirFormat = 1
	// softSettings is read by dragonboat from the working directory.
	softSettings = "dragonboat-soft-settings.json"
	maxIdentity  = 64 << 10
)

// dirIdentity says whose a directory is.
type dirIdentity struct {
	Format  int    `json:"format"`
	Node    string `json:"node"`
	Store   Store  `json:"store"`
	Workers int    `json:"workers"`
	// Closed: Close has run to its end. For people.
	Backend string `json:"backend"`
}

// directory is a data directory that this process holds.
type directory struct {
	path string
	lock *os.File
}

// openDirectory takes a directory for this node, or refuses. What it refuses it
// has not changed.
func openDirectory(o *Options) (*directory, error) {
	if _, err := os.Stat(softSettings); err == nil {
		return nil, fmt.Errorf("%w: the working directory has a file %s, which would change how Raft works: remove it or work elsewhere",
			consensus.ErrConfig, softSettings)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", consensus.ErrDirectory, err)
	}
	want := dirIdentity{Format: dirFormat, Node: string(o.Node), Store: o.Store, Workers: o.Workers, Backend: "dragonboat/v4"}
	have, err := readIdentity(o.Dir)
	if err == nil {
		err = compatible(have, want)
	} else if errors.Is(err, os.ErrNotExist) {
		err = checkEmpty(o.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Dir, err)
	}
	d, err := lockDirectory(o.Dir)
	if err != nil {
		return nil, err
	}
	sweepDirectory(o.Dir)
	if have == nil {
		if err := writeIdentity(o.Dir, want); err != nil {
			return nil, errors.Join(err, d.close())
		}
	}
	return d, nil
}

// sweepDirectory removes what backups, restores and files that were being
// replaced have left of a process that was killed. The lock is held, so nobody
// uses them.
func sweepDirectory(dir string) {
	for _, pattern := range []string{exportPrefix + "*", importPrefix + "*", identityFile + ".new*", marksFile + ".new*"} {
		left, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, name := range left {
			_ = os.RemoveAll(name)
		}
	}
}

func compatible(have *dirIdentity, want dirIdentity) error {
	switch {
	case have.Format > want.Format:
		return fmt.Errorf("%w: format %d was written by a newer version, this one knows up to %d: run the newer version",
			consensus.ErrDirectory, have.Format, want.Format)
	case have.Node != want.Node:
		return fmt.Errorf("%w: it belongs to node %s and this is %s: give each node its own directory, and a copied one never",
			consensus.ErrDirectory, have.Node, want.Node)
	case have.Store != want.Store:
		return fmt.Errorf("%w: its logs are in store %q: set Options.Store to that", consensus.ErrDirectory, have.Store)
	case have.Workers != want.Workers:
		return fmt.Errorf("%w: it was made for %d workers: set Options.Workers to that", consensus.ErrDirectory, have.Workers)
	}
	return nil
}

// checkEmpty refuses a directory without our file that has something in it.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", consensus.ErrDirectory, err)
	}
	for _, e := range entries {
		if e.Name() != lockFile && !strings.HasPrefix(e.Name(), identityFile) {
			return fmt.Errorf("%w: it has no %s but holds %s: it is another program's, or the file was lost; take an empty directory",
				consensus.ErrDirectory, identityFile, e.Name())
		}
	}
	return nil
}

// readIdentity reads the file; the error wraps os.ErrNotExist,
// [consensus.ErrDirectory] or [consensus.ErrDamaged].
func readIdentity(dir string) (*dirIdentity, error) {
	name := filepath.Join(dir, identityFile)
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	damaged := func(what string) error {
		return fmt.Errorf("%w: %s %s: %s", consensus.ErrDamaged, identityFile, what, damagedRemedy)
	}
	if len(b) > maxIdentity {
		return nil, damaged("is too long")
	}
	text, sum, ok := strings.Cut(strings.TrimSuffix(string(b), "\n"), "\nsha256 ")
	if !ok {
		return nil, damaged("has no checksum")
	}
	if got := sha256.Sum256([]byte(text)); hex.EncodeToString(got[:]) != sum {
		return nil, damaged("does not match its checksum")
	}
	var id dirIdentity
	if err := json.Unmarshal([]byte(text), &id); err != nil {
		return nil, damaged("can't be read")
	}
	return &id, nil
}

func writeIdentity(dir string, id dirIdentity) error {
	text, err := json.MarshalIndent(id, "", "\t")
	if err != nil {
		return err
	}
	return replaceFile(dir, identityFile, fmt.Appendf(nil, "%s\nsha256 %x\n", text, sha256.Sum256(text)))
}

// replaceFile writes a file so that a loss of power leaves the old one or the
// new one, whole. Names that begin so and end otherwise are what it leaves then.
func replaceFile(dir, name string, content []byte) error {
	f, err := os.CreateTemp(dir, name+".new")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // does nothing after the rename
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func lockDirectory(dir string) (*directory, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", consensus.ErrDirectory, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		var holder [32]byte
		n, _ := f.Read(holder[:])
		f.Close()
		return nil, fmt.Errorf("%w: %s is in use by process %s: stop that one first", consensus.ErrDirectory, dir,
			strings.TrimSpace(string(holder[:n])))
	}
	if err := f.Truncate(0); err == nil { // for people; the lock is what counts
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return &directory{path: dir, lock: f}, nil
}

// close gives the directory back. The lock is taken off first: a process that is
// being started just then has a copy of the descriptor until it executes its program,
// and would hold it for as long.
func (d *directory) close() error {
	if d == nil {
		return nil
	}
	return errors.Join(syscall.Flock(int(d.lock.Fd()), syscall.LOCK_UN), d.lock.Close())
}
