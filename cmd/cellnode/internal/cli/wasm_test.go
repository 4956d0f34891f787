package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// doubles is a module that answers Doubler.Double, assembled by hand: the request
// is a block of four bytes, the reply one of eight.
var doubles = slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
	[]byte{1, 12, 2, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 2, 0x7e, 0x7f, 1, 0x7e}, // types: i32 to i32; i64, i32 to i64
	[]byte{3, 3, 2, 0, 1}, // two functions of those
	[]byte{5, 3, 1, 0, 1}, // a page of memory
	[]byte{7, 36, 3}, []byte("\x06memory\x02\x00"), []byte("\x0bcell_buffer\x00\x00"), []byte("\x09cell_call\x00\x01"),
	[]byte{10, 33, 2,
		5, 0, 0x41, 0x80, 0x08, 0x0b, // cell_buffer: 1024
		25, 0, 0x41, 0x80, 0x10, // cell_call: at 2048 put
		0x41, 0x80, 0x08, 0x34, 2, 0, // what is at 1024,
		0x42, 2, 0x7e, // times 2,
		0x37, 3, 0, // of eight bytes,
		0x42, 0x88, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02, 0x0b, // and return 2048<<32 | 8
	})

const doubler = `cell 1

struct Given {
	Value int32
}

struct Twice {
	Value int64
}

service Doubler {
	idempotent call Double(Given) Twice
}
`

// A WebAssembly cell is called, described and replaced like any other.
func TestAModuleIsACellOfANode(t *testing.T) {
	if _, err := exec.LookPath("bwrap"); err != nil {
		t.Skip("bubblewrap is not installed")
	}
	dir := private(t)
	files, err := os.MkdirTemp("/var/tmp", "wasm") // a cell's /tmp is its own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(files) })
	write := func(name, text string) string {
		path := filepath.Join(files, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.Chmod(files, 0o755); err != nil {
		t.Fatal(err)
	}
	module, description := write("doubler.wasm", string(doubles)), write("doubler.cell", doubler)
	_, end := startNode(t, dir, write("c.toml", "[network]\nmode = \"off\"\n[cells.doubler]\ncommand = [\""+module+"\", \""+description+
		"\"]\ncapsid = \"wasm\"\nfiles = { system = true }\nready_timeout = \"40s\"\n"))
	h := host{dir: dir}
	for _, tc := range []struct{ args, out string }{
		{"ps", "doubler"},
		{"ls", "Doubler"},
		{"describe doubler", "call Double(Given) Twice"},
		{`call doubler.Double {"Value":21}`, `{"Value":42}`},
		{"restart doubler", "has drained and ended"},
		{`call doubler.Double {"Value":-4}`, `{"Value":-8}`},
	} {
		if code, out, complaints := h.run(t, strings.Fields(tc.args)...); code != 0 || !strings.Contains(out, tc.out) {
			t.Errorf("%s: %d\n%s%s", tc.args, code, out, complaints)
		}
	}
	if code := end(); code != 0 {
		t.Errorf("the node ended with %d", code)
	}
}
