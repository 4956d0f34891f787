//go:build !nodragonboat && !s390x

package dragonboat

import "github.com/lni/vfs"

// noSync is a file system whose fsync does nothing: [Options.UnsafeNoSync], and
// the control of the simulation, which must notice it.
type noSync struct{ vfs.FS }

// withoutSync wraps a file system. dragonboat takes none but those of its own,
// so it gets the one that is made to inject errors, and injects none.
func withoutSync(fs vfs.FS) vfs.FS { return vfs.Wrap(noSync{fs}, noErrors{}) }

type noErrors struct{}

func (noErrors) MaybeError(vfs.Op) error { return nil }

type noSyncFile struct{ vfs.File }

func (noSyncFile) Sync() error { return nil }

func lying(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return noSyncFile{f}, nil
}

func (n noSync) Create(name string) (vfs.File, error) { return lying(n.FS.Create(name)) }
func (n noSync) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	return lying(n.FS.Open(name, o...))
}
func (n noSync) OpenForAppend(name string) (vfs.File, error) { return lying(n.FS.OpenForAppend(name)) }
func (n noSync) OpenDir(name string) (vfs.File, error)       { return lying(n.FS.OpenDir(name)) }
func (n noSync) ReuseForWrite(old, name string) (vfs.File, error) {
	return lying(n.FS.ReuseForWrite(old, name))
}
