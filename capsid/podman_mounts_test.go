package capsid

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// podman reads a mount as options with commas between them: a path must not bring its
// own, by a link neither.
func TestPathsBringNoOptionsOfPodman(t *testing.T) {
	dir := t.TempDir()
	evil := filepath.Join(dir, "a,ro=false,dst=")
	if err := os.Mkdir(evil, 0o755); err != nil {
		t.Fatal(err)
	}
	link, plain := filepath.Join(dir, "link"), filepath.Join(dir, "plain")
	if err := errors.Join(os.Symlink(evil, link), os.Symlink(dir, plain)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spec Spec
		want []string // nil: refused
	}{
		"nothing":                         {Spec{}, []string{"type=bind,src=/bin/true,dst=/bin/true,ro=true"}},
		"a folder by a link":              {Spec{Files: Files{ReadOnly: []string{plain}}}, []string{"type=bind,src=" + dir + ",dst=" + plain + ",ro=true", "type=bind,src=/bin/true,dst=/bin/true,ro=true"}},
		"a folder to write to":            {Spec{Files: Files{ReadWrite: []string{dir}}}, []string{"type=bind,src=" + dir + ",dst=" + dir + ",ro=false", "type=bind,src=/bin/true,dst=/bin/true,ro=true"}},
		"a comma":                         {Spec{Files: Files{ReadOnly: []string{evil}}}, nil},
		"a link to what has a comma":      {Spec{Files: Files{ReadWrite: []string{link}}}, nil},
		"a program whose path has quotes": {Spec{Command: []string{`/bin/"true"`}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if c.spec.Command == nil {
				c.spec.Command = []string{"/bin/true"}
			}
			got, err := mountsOf(c.spec)
			for i := range got { // /bin is a link itself on most hosts
				if real, e := filepath.EvalSymlinks("/bin/true"); e == nil && got[i] == "type=bind,src="+real+",dst=/bin/true,ro=true" {
					got[i] = "type=bind,src=/bin/true,dst=/bin/true,ro=true"
				}
			}
			if c.want == nil && !errors.Is(err, ErrSpec) || c.want != nil && (err != nil || !slices.Equal(got, c.want)) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}
