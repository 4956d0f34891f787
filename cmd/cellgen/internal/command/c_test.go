package command

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestC(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "door.cell")
	write(t, name, "cell 1\n\nstruct Key {\n\tCode uint32\n}\n\nservice Lock {\n\tcall Unlock(Key) Key\n}\n")
	dashed := filepath.Join(dir, "front-door.cell")
	write(t, dashed, "cell 1\n\nservice Lock {\n\tcall Unlock()\n}\n")
	other := filepath.Join(dir, "other.h")
	for _, v := range []struct {
		name  string
		args  []string
		wrote string
		code  int
		said  string
	}{
		{"beside the description", []string{"c", name}, filepath.Join(dir, "door_cell.h"), exitOK, ""},
		{"elsewhere", []string{"c", name, "-o", other}, other, exitOK, ""},
		{"no description", []string{"c"}, "", exitUsage, "usage: cellgen c"},
		{"a name that C can't have", []string{"c", dashed}, "", exitFound, "rename the file"},
		{"none such", []string{"c", filepath.Join(dir, "no.cell")}, "", exitFound, "no such file"},
	} {
		r := runIn(t, "", v.args...)
		if r.code != v.code || !strings.Contains(r.stderr, v.said) {
			t.Errorf("%s: %+v", v.name, r)
		}
		if v.wrote != "" && !strings.Contains(read0(t, v.wrote), "lock_unlock(cell_call *c)") {
			t.Errorf("%s: %s", v.name, read0(t, v.wrote))
		}
	}
	bad := filepath.Join(dir, "bad.cell")
	write(t, bad, "cell 1\n\nstruct Key {\n\tName string\n}\n\nservice Lock {\n\tcall Unlock(Key) Key\n}\n")
	if r := runIn(t, "", "c", bad); r.code != exitFound || !strings.Contains(r.stderr, "Key") {
		t.Errorf("a message without a fixed size: %+v", r)
	}
}
