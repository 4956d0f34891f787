package lint

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Finding is one place that breaks a rule.
type Finding struct {
	Path string // slash-separated, from the repository's root
	Line int    // from 1; 0 where the whole file or package is meant
	What string // what is wrong, and how to mend it
}

// String returns the finding as compilers print theirs: path:line: what.
func (f Finding) String() string {
	if f.Line == 0 {
		return f.Path + ": " + f.What
	}
	return fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.What)
}

// Files returns the paths in tree that end in suffix, in order. It leaves out
// hidden folders, testdata (whose content is somebody's sample) and build.
func Files(tree fs.FS, suffix string) ([]string, error) {
	var found []string
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch base := path.Base(name); {
		case err != nil:
			return err
		case !entry.IsDir():
			if strings.HasSuffix(base, suffix) {
				found = append(found, name)
			}
		case name != "." && (base[0] == '.' || slices.Contains([]string{"testdata", "build", "node_modules"}, base)):
			return fs.SkipDir
		}
		return nil
	})
	return found, err
}

// IsGenerated reports whether a Go source says, by the convention of the go
// command, that a program wrote it.
func IsGenerated(source []byte) bool {
	for line := range strings.Lines(string(source)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "// Code generated ") && strings.HasSuffix(line, " DO NOT EDIT.") {
			return true
		}
		if strings.HasPrefix(line, "package ") {
			return false
		}
	}
	return false
}
