//go:build !race

// The machine's programs are built without the race detector, so a run with it
// would only repeat what the one without does.

package can

import (
	"os/exec"
	"regexp"
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
		addProgram(files, tool)
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

var library = regexp.MustCompile(`(?m)(/\S+) \(0x`)

// addProgram copies a program of the host and its libraries into the machine,
// if it is there.
func addProgram(files map[string]string, name string) {
	path, err := exec.LookPath(name)
	if err != nil {
		return
	}
	files["/bin/"+name] = path
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		return
	}
	for _, m := range library.FindAllStringSubmatch(string(out), -1) {
		files[m[1]] = m[1]
	}
}
