//go:build !race && !kernelvm

// The machine's programs are built without the race detector, so a run with it
// would only repeat what the one without does; and within the machine there is
// no machine.

package afxdp

import (
	"os"
	"testing"
	"time"

	"github.com/cell-runtime/cell/internal/kernelvm"
)

// TestOnOldKernel runs the tests of this package, xsk and broker on the oldest kernel that they
// are meant for, in machines of their own.
func TestOnOldKernel(t *testing.T) {
	files := map[string]string{}
	kernelvm.AddProgram(files, "ip")
	files["/testdata/afxdp/data.hex"] = "../testdata/afxdp/data.hex"
	// Everything there is emulated, down to the instructions, so that the suites
	// take two minutes even shortened: one of them has to do. asavie/xdp's sockets
	// are not among it: their library allocates when it is late, and there it is.
	args := []string{"-test.short", "-test.skip",
		"^(TestUDPConformance|TestReliableOverABadNetwork|TestCallsOverXDP|TestAFloodAtLineRate)$|^TestXDPConformance$/(bad_network_true|asavie)"}
	timeout, env := 5*time.Minute, []string(nil)
	if os.Getenv("CELL_SOAK") != "" {
		args, timeout, env = []string{"-test.short"}, 30*time.Minute, []string{"CELL_SOAK=1"}
	}
	for name, args := range map[string][]string{".": args, "./xsk": {"-test.short"}, "./broker": {"-test.short"}} {
		t.Run(name, func(t *testing.T) {
			cpus := 1
			if name == "./xsk" {
				cpus = 2 // for two threads that spin for each other
			}
			kernelvm.Test(t, kernelvm.TestOptions{
				Package: name, Kernels: kernelvm.Kernels[:1], Tags: "kernelvm", Args: args, Timeout: timeout, Env: env,
				Machine: kernelvm.Machine{Modules: []string{"veth"}, Files: files, CPUs: cpus},
			})
		})
	}
}
