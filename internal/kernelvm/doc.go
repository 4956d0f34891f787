// Package kernelvm boots a kernel of Debian in QEMU and runs programs in it as
// root, for tests of what the host's own kernel lacks or what must hold on
// several kernels: CAN sockets, AF_XDP, newer cgroups. Nothing of the product
// imports it.
//
//	kernelvm.Test(t, kernelvm.TestOptions{
//		Tags: "vcan", Run: "^TestKernel", Modules: []string{"vcan", "can-raw"},
//		Links: []kernelvm.Link{{Name: "vcan0", Kind: "vcan", MTU: 72}},
//	})
//
// builds the test binary of the package under test, boots it on each kernel,
// and reports each of its tests as a subtest.
//
// The kernel comes from the distribution's package by apt-get download, without
// root, and is kept in the user's cache. The machine is emulated (TCG), so no
// /dev/kvm is needed; what is compressed in a bzImage is unpacked here, since
// that takes the longest under emulation, and booted by PVH. Boot to the first
// test takes two to three seconds. The machine has no network and no disk: its
// root is a RAM disk with a small init (package kernelvm/init), the modules that
// were asked for, and the programs. It leaves through QEMU's isa-debug-exit.
package kernelvm
