//go:build !nodragonboat && !s390x

package dragonboat

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

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
	half  map[string][]byte    // of those, what was under way when the power failed
	fuse  int                  // syncs until it fails; 0: it does not
	blown func()
	torn  int // how many writes were torn
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

// Sync makes what was written durable, unless the power fails at this moment.
func (t *tornFile) Sync() error {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	if t.d.fuse > 0 {
		if t.d.fuse--; t.d.fuse == 0 {
			t.d.freeze()
			t.d.blown()
		}
	}
	err := t.File.Sync()
	if err == nil {
		t.unsynced = nil
	}
	return err
}

// light has the power fail at the n-th sync from now on, between a write and its
// sync, and calls blown then. In time that only goes on when all wait, it would
// never fail there by itself.
func (d *tornDisk) light(n int, blown func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fuse, d.blown = n, blown
}

// freeze is the moment of the power loss: from now on nothing reaches the disk.
func (d *tornDisk) freeze() {
	d.SetIgnoreSyncs(true)
	d.half = make(map[string][]byte)
	for name, t := range d.files {
		if len(t.unsynced) > 0 && !t.odd {
			d.half[name] = slices.Clone(t.unsynced)
		}
	}
}

// lose is the power loss, unless it has happened at a sync before.
func (d *tornDisk) lose() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fuse = 0
	if d.half == nil {
		d.freeze()
	}
}

// after is the disk as it is found again.
func (d *tornDisk) after(r *rand.Rand) error {
	d.ResetToSyncedState()
	d.SetIgnoreSyncs(false)
	half := d.half
	d.half = nil
	clear(d.files)
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
