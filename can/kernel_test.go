//go:build !race

// The machine's programs are built without the race detector, so a run with it
// would only repeat what the one without does.

package can

import (
	"testing"
	"time"

	"github.com/cell-runtime/cell/internal/kernelvm"
)

// TestInKernels runs the tests of vcan_test.go on kernels with CAN, since few
// build machines have it: a virtual bus that all programs of the machine share,
// and two emulated controllers on a bus of their own.
func TestInKernels(t *testing.T) {
	files := map[string]string{}
	for _, tool := range []string{"candump", "cansend"} {
		kernelvm.AddProgram(files, tool)
	}
	kernelvm.Test(t, kernelvm.TestOptions{
		Tags: "vcan", Run: "^TestKernel", Check: checkTrace,
		Timeout: 5 * time.Minute, // 40 s where nothing else runs
		Machine: kernelvm.Machine{
			Modules: []string{"can-raw", "vcan", "kvaser_pci"},
			Links: []kernelvm.Link{
				{Name: "vcan0", Kind: "vcan", MTU: canFDMTU}, {Name: "vcan1", Kind: "vcan", MTU: canFDMTU},
				{Name: "can0", Kind: "can", Bitrate: 500_000}, {Name: "can1", Kind: "can", Bitrate: 500_000},
			},
			Files: files,
			QEMU: []string{"-object", "can-bus,id=bus", "-device", "kvaser_pci,canbus=bus",
				"-device", "kvaser_pci,canbus=bus"},
		},
	})
}
