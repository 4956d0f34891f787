//go:build !race && !kernelvm

// The machine's programs are built without the race detector, and within the machine
// there is no machine.

package capsid_test

import (
	"os"
	"testing"
	"time"

	"github.com/cell-runtime/cell/internal/kernelvm"
)

// TestWithControlGroupsOfVersion2 runs the conformance suite, the probes and the
// quotas where control groups are of version 2 alone, which hosts of containers
// seldom are: in a machine with a kernel of its own.
func TestWithControlGroupsOfVersion2(t *testing.T) {
	if os.Getenv("CELL_SOAK") == "" {
		t.Skip("takes a minute; CELL_SOAK=1 runs it")
	}
	files := map[string]string{}
	kernelvm.AddProgram(files, "bwrap")
	kernelvm.Test(t, kernelvm.TestOptions{
		Tags: "kernelvm", Run: "^(TestNoneConforms|TestBwrapConforms|TestCPULimits|TestNothingIsOpenInBwrap)$", Args: []string{"-test.short"},
		Timeout: 10 * time.Minute, Machine: kernelvm.Machine{Files: files, Memory: 1024},
	})
}
