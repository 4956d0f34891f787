package capsid

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestVariablesThatWouldActOnBubblewrapAreRefused(t *testing.T) {
	b, err := NewBwrap("")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GLIBC_TUNABLES", "GCONV_PATH", "LOCPATH"} {
		s := Spec{Name: "x", Command: []string{"/bin/true"}, Env: []string{"A=1", key + "="}}
		if _, err := b.Start(t.Context(), s); !errors.Is(err, ErrSpec) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := checkLoader(Spec{Name: "x", Env: []string{"OLD_PRELOAD=1", "A=LD_PRELOAD=x", "PATH=/bin"}}); err != nil {
		t.Error(err)
	}
}

func TestWhichBubblewrapIsRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bwrap")
	if err := os.WriteFile(path, []byte("#!/bin/true"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		mode os.FileMode
		root bool
		want error
	}{
		{"an ordinary one", 0o755, true, nil},
		{"others may write to it", 0o757, true, ErrUnavailable},
		{"setuid, for root", 0o755 | os.ModeSetuid, true, ErrUnavailable},
		{"setuid, for somebody else", 0o755 | os.ModeSetuid, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := (&Bwrap{path: path, root: c.root}).program(); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestUsersOfANamespace(t *testing.T) {
	for _, c := range []struct {
		name, text string
		uid        uint32
		want       bool
	}{
		{"everybody's", "         0          0 4294967295\n", 65534, true},
		{"one user's", "         0       1000          1\n", 65534, false},
		{"its root", "         0       1000          1\n", 0, true},
		{"the second range", "0 1000 1\n1 100000 65536\n", 65534, true},
		{"behind the last range", "0 1000 1\n1 100000 65533\n", 65534, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := inMap(c.text, c.uid); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
