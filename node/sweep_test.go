package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/node/config"
)

// Of the metrics in its directory a node removes what those have left that were
// killed, and nothing else.
func TestSweptMetrics(t *testing.T) {
	n := &Node{dir: t.TempDir(), config: config.Default()}
	cell := config.DefaultCell()
	cell.Command = []string{"/bin/true"}
	n.config.Cells["a.b"] = cell
	link := func(name, to string) {
		if err := os.Symlink(to, filepath.Join(n.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("gone.1.metrics", "/proc/4194305/fd/3")
	link("other.1.metrics", filepath.Join(n.dir, "elsewhere"))
	if err := os.WriteFile(filepath.Join(n.dir, "text.1.metrics"), []byte("no metrics"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := metrics.Create(filepath.Join(n.dir, "a.b.1.metrics"), metrics.Options{Size: metrics.MinSize, Instruments: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n.sweepMetrics()
	for name, stays := range map[string]bool{"gone.1.metrics": false, "other.1.metrics": true, "text.1.metrics": true, "a.b.1.metrics": true} {
		if _, err := os.Lstat(filepath.Join(n.dir, name)); (err == nil) != stays {
			t.Errorf("%s: %v, it should stay: %v", name, err, stays)
		}
	}
}
