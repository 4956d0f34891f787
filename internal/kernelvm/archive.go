package kernelvm

import (
	"bytes"
	"fmt"
	"path"
	"strings"
)

// archive is a RAM disk: a cpio archive of the "newc" format
// (Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	out   bytes.Buffer
	inode int
	dirs  map[string]bool
}

const (
	modeDir        = 0o040755
	modeProgram    = 0o100755
	modeCharDevice = 0o020600
)

func newArchive() *archive {
	a := &archive{dirs: map[string]bool{".": true, "/": true, "": true}}
	a.dir("dev")
	a.entry("dev/console", modeCharDevice, nil, 5, 1)
	a.entry("dev/null", modeCharDevice|0o066, nil, 1, 3)
	return a
}

// file adds a file, executable, at an absolute path.
func (a *archive) file(name string, content []byte) {
	name = strings.TrimPrefix(path.Clean(name), "/")
	a.dir(path.Dir(name))
	a.entry(name, modeProgram, content, 0, 0)
}

func (a *archive) dir(name string) {
	if a.dirs[name] {
		return
	}
	a.dir(path.Dir(name))
	a.dirs[name] = true
	a.entry(name, modeDir, nil, 0, 0)
}

func (a *archive) entry(name string, mode uint32, content []byte, major, minor int) {
	a.inode++
	fmt.Fprintf(&a.out, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0)
	a.out.WriteString(name)
	a.out.WriteByte(0)
	a.pad()
	a.out.Write(content)
	a.pad()
}

func (a *archive) pad() {
	for a.out.Len()%4 != 0 {
		a.out.WriteByte(0)
	}
}

// bytes ends the archive.
func (a *archive) bytes() []byte {
	a.inode = -1
	a.entry("TRAILER!!!", 0, nil, 0, 0)
	return a.out.Bytes()
}
