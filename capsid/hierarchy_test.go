package capsid

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Groups of nodes that are no more are removed, those of all others stay: also
// where a node's process can't be seen from here.
func TestSweepTouchesNobodyWhoMayLive(t *testing.T) {
	here, err := pidNamespace()
	if err != nil {
		t.Fatal(err)
	}
	st, err := readStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const nobody = 1<<22 + 1 // above the kernel's highest number of a process
	parent := t.TempDir()
	for name, stays := range map[string]bool{
		fmt.Sprintf("cell-node.%d.%d.%d", os.Getpid(), st.start, here):   true,
		fmt.Sprintf("cell-node.%d.%d.%d.background", nobody, 1, here):    false,
		fmt.Sprintf("cell-node.%d.%d.%d.other", nobody, 1, here):         true,
		fmt.Sprintf("cell-node.%d.%d.%d", os.Getpid(), st.start+1, here): false, // its number was given again
		fmt.Sprintf("cell-node.%d.%d.%d", nobody, 1, here):               false,
		fmt.Sprintf("cell-node.%d.%d.%d", nobody, 1, here+1):             true, // of another pid namespace
		"cell-node.x":  true,
		"other.1.2.3":  true,
		"cell-node.-1": true,
	} {
		if err := os.Mkdir(filepath.Join(parent, name), 0o755); err != nil {
			t.Fatal(err)
		}
		sweep(parent)
		if got := isDir(filepath.Join(parent, name)); got != stays {
			t.Errorf("%s: there is it %v, want %v", name, got, stays)
		}
	}
}
