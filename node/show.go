package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cell-runtime/cell/metrics"
)

// Where a cell's process shows its metrics: NAME.N.metrics in the runtime directory.
// Without walls that is a file of the process's own. A process behind walls sees no
// directory: it asks its node for memory, to which NAME.N.metrics is a link. Its size
// is sealed, and readers copy from it, so that whatever the process does to it harms
// nobody but itself.

// errShown: a process has its memory already.
var errShown = errors.New("the process has memory for its metrics already")

// show lends a process memory for its metrics.
func (i *instance) show() (*os.File, error) {
	if i.lent != nil || i.version.config.Capsid == "none" {
		return nil, errShown
	}
	f, err := metrics.Lend(i.process.PID(), metrics.Options{})
	if err != nil {
		return nil, err
	}
	// By the node's number and not by "self": others follow it.
	if err := os.Symlink(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()), i.metrics); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	i.lent = f
	return f, nil
}

// sweepMetrics removes the metrics of processes whose node was killed. No other
// node runs in this directory: this one has its name.
func (n *Node) sweepMetrics() {
	files, _ := filepath.Glob(filepath.Join(n.dir, "*.metrics"))
	for _, f := range files {
		if to, err := os.Readlink(f); err == nil {
			if strings.HasPrefix(to, "/proc/") {
				_ = os.Remove(f)
			}
			continue
		}
		base := strings.TrimSuffix(filepath.Base(f), ".metrics")
		dot := strings.LastIndexByte(base, '.') // names may have dots themselves
		if r, err := metrics.Open(f); err == nil {
			ours := dot > 0 && n.config.Cells[base[:dot]].Command != nil && !r.WriterAlive()
			_ = r.Close()
			if ours {
				_ = os.Remove(f)
			}
		}
	}
}
