package sched

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// loadTree reads a recorded machine. A file of the machine is a section that
// "-- path --" begins; one of a single line stands behind that on the same
// line. Lines before the first section are a comment.
func loadTree(t testing.TB, name string) fstest.MapFS {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	fsys, path := fstest.MapFS{}, ""
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "-- "); ok {
			var content string
			path, content, _ = strings.Cut(rest, " --")
			line = strings.TrimPrefix(strings.TrimLeft(content, " "), "\n")
			fsys[path] = &fstest.MapFile{}
		}
		if path != "" {
			fsys[path].Data = append(fsys[path].Data, line...)
		}
	}
	return fsys
}

func host(t testing.TB, name string) *Host { return NewHost(loadTree(t, name)) }

func topology(t testing.TB, name string) *Topology {
	t.Helper()
	topo, err := host(t, name).Topology()
	if err != nil {
		t.Fatal(err)
	}
	return topo
}

// with returns a recorded machine with some files replaced, or removed where
// the content is "-".
func with(fsys fstest.MapFS, files map[string]string) *Host {
	for path, content := range files {
		if content == "-" {
			delete(fsys, path)
			continue
		}
		fsys[path] = &fstest.MapFile{Data: []byte(content)}
	}
	return NewHost(fsys)
}

// set reads a CPU list that the test itself wrote.
func set(t testing.TB, list string) CPUSet {
	t.Helper()
	s, err := ParseCPUList(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
