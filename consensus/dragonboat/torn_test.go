//go:build !nodragonboat && !s390x

package dragonboat

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/lni/vfs"
)

// tornDisk is a strict disk in memory which at a power loss keeps a part of what
// was written since the last sync: a write that was torn. The rest of it is
// missing, or zeros, as where a file system has noted a file's new length, and
// not yet its blocks.
type tornDisk struct {
	*vfs.MemFS
	mu    sync.Mutex
	files map[string]*tornFile // with bytes that are not synced
	torn  int                  // how many writes were torn
}

func newTornDisk(fs *vfs.MemFS) *tornDisk {
	return &tornDisk{MemFS: fs, files: make(map[string]*tornFile)}
}

// tornFile is a file that is only appended to.
type tornFile struct {
	vfs.File
	d        *tornDisk
	unsynced []byte
	odd      bool // it is also written elsewhere: left alone
}

func (d *tornDisk) Create(name string) (vfs.File, error) {
	f, err := d.MemFS.Create(name)
	if err != nil {
		return nil, err
	}
	t := &tornFile{File: f, d: d}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[name] = t
	return t, nil
}

func (d *tornDisk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.MemFS.Rename(from, to)
	if t := d.files[from]; err == nil && t != nil {
		delete(d.files, from)
		d.files[to] = t
	}
	return err
}

func (d *tornDisk) ReuseForWrite(from, to string) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, from)
	delete(d.files, to)
	return d.MemFS.ReuseForWrite(from, to)
}

func (d *tornDisk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, name)
	return d.MemFS.Remove(name)
}

func (t *tornFile) Write(b []byte) (int, error) {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	n, err := t.File.Write(b)
	t.unsynced = append(t.unsynced, b[:n]...)
	return n, err
}

func (t *tornFile) WriteAt(b []byte, at int64) (int, error) {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	t.odd = true
	return t.File.WriteAt(b, at)
}

func (t *tornFile) Seek(at int64, whence int) (int64, error) {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	t.odd = true
	return t.File.Seek(at, whence)
}

// Sync takes a while, as on a real disk: otherwise the power would never fail
// between a write and its sync, in time that only goes on when all wait.
func (t *tornFile) Sync() error {
	time.Sleep(time.Duration(1+rand.IntN(8)) * time.Millisecond)
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	err := t.File.Sync()
	if err == nil {
		t.unsynced = nil
	}
	return err
}

// loseFrom is the moment of the power loss: from now on nothing reaches the
// disk. It returns what was under way then.
func (d *tornDisk) loseFrom() map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.SetIgnoreSyncs(true)
	half := make(map[string][]byte)
	for name, t := range d.files {
		if len(t.unsynced) > 0 && !t.odd {
			half[name] = slices.Clone(t.unsynced)
		}
	}
	clear(d.files)
	return half
}

// after is the disk as it is found again.
func (d *tornDisk) after(half map[string][]byte, r *rand.Rand) error {
	d.ResetToSyncedState()
	d.SetIgnoreSyncs(false)
	for _, name := range slices.Sorted(maps.Keys(half)) {
		b := half[name]
		kept := r.IntN(len(b) + 1)
		if r.IntN(3) == 0 {
			clear(b[kept:])
		} else {
			b = b[:kept]
		}
		f, err := d.OpenForAppend(name)
		if err != nil { // its name was not synced either
			continue
		}
		if _, err := f.Write(b); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		d.torn++
	}
	return nil
}
