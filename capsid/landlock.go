package capsid

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Rights of Landlock by the version of its interface that brought them
// (Documentation/userspace-api/landlock.rst).
const (
	fsRead  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	fsWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	fsNever = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK

	fsRefer    = 1 << 13 // version 2
	fsTruncate = 1 << 14 // version 3
	fsIoctl    = 1 << 15 // version 5: ioctl of device files

	netBindConnect = 1<<0 | 1<<1 // version 4: TCP
	scopes         = 1<<0 | 1<<1 // version 6: abstract unix sockets, signals

	// rights of single files: those of folders are refused for them
	fsFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | fsTruncate | fsIoctl
)

// place is a path inside a capsid and what may be done below it.
type place struct {
	path     string
	write    bool
	file     bool
	device   bool
	optional bool
}

// confine returns what Landlock of version abi can do to hold a cell to places,
// and what it can't, as a sentence.
func confine(abi int, places []place) (r ruleset, missing string) {
	switch {
	case abi <= 0:
		return r, "no Landlock: the kernel does not have it, or it is not among its security modules (lsm=); namespaces and seccomp stand alone"
	case abi < 6:
		missing = fmt.Sprintf("Landlock of version %d: no scopes for signals and abstract sockets before version 6; namespaces hold those alone", abi)
	}
	r.fs, r.size = fsRead|fsWrite|fsNever, 8
	if abi >= 2 {
		r.fs |= fsRefer
	}
	if abi >= 3 {
		r.fs |= fsTruncate
	}
	if abi >= 4 {
		r.net, r.size = netBindConnect, 16
	}
	if abi >= 5 {
		r.fs |= fsIoctl
	}
	if abi >= 6 {
		r.scoped, r.size = scopes, 24
	}
	for _, p := range places {
		access := uint64(fsRead)
		if p.write {
			access |= fsWrite | fsTruncate | fsRefer
		}
		if p.device {
			access |= fsIoctl
		}
		if p.file {
			access &= fsFile
		}
		r.rules = append(r.rules, pathRule{access: access & r.fs, path: p.path, optional: p.optional})
	}
	return r, missing
}
