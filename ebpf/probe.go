package ebpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

var (
	// ErrNotSupported: this kernel or driver lacks what is needed. It is
	// cilium/ebpf's own, so that errors.Is works for either.
	ErrNotSupported = ebpf.ErrNotSupported
	// ErrPermission: the process lacks a capability.
	ErrPermission = errors.New("ebpf: missing capability")
	// ErrMemlock: the limit on locked memory is in the way (Linux before 5.11).
	ErrMemlock = errors.New("ebpf: RLIMIT_MEMLOCK is too low")
	// ErrOccupied: another program is attached; see [OccupiedError].
	ErrOccupied = errors.New("ebpf: the interface has an XDP program already")
)

// Probe says whether every program of this package can be loaded here: nil, or
// an error that names the first thing that is missing.
func Probe() error {
	if err := probeFilters(); err != nil {
		return err
	}
	if err := features.HaveMapType(ebpf.XSKMap); err != nil {
		return fmt.Errorf("ebpf: maps of AF_XDP sockets: %w (Linux 4.18 with CONFIG_XDP_SOCKETS has them)", err)
	}
	return nil
}

// probeFilters is Probe for what needs no AF_XDP.
func probeFilters() error {
	if err := checkCapabilities(); err != nil {
		return err
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return fmt.Errorf("%w: %w; raise it (ulimit -l unlimited, LimitMEMLOCK=infinity) or give CAP_SYS_RESOURCE", ErrMemlock, err)
	}
	if err := features.HaveProgramType(ebpf.XDP); err != nil {
		return fmt.Errorf("ebpf: programs of type XDP: %w (Linux 4.8 with CONFIG_BPF_SYSCALL has them)", err)
	}
	if err := features.HaveMapType(ebpf.LRUHash); err != nil {
		return fmt.Errorf("ebpf: maps that forget what is used least: %w (Linux 4.10 has them)", err)
	}
	return nil
}

// loadError says what stood in the way of loading an object.
func loadError(what string, err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier):
		return fmt.Errorf("%w: this kernel's verifier refuses %s; Linux 5.18 and later take it, 6.1 only with CAP_PERFMON besides, or as root: %w", ErrNotSupported, what, err)
	case errors.Is(err, btf.ErrNotSupported):
		return fmt.Errorf("ebpf: loading %s: this kernel takes no type information (BTF, Linux 4.18): %w", what, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: the kernel refuses to load %s; a security module (lockdown, SELinux) may forbid it, and within a user namespace the capabilities don't count: %w", ErrPermission, what, err)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("%w: loading %s: the memory limit of the control group counts, too: %w", ErrMemlock, what, err)
	}
	return fmt.Errorf("ebpf: loading %s: %w", what, err)
}

// checkCapabilities looks before the kernel does: what that says to a process
// without CAP_BPF sounds like a lack of memory.
func checkCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("ebpf: reading this process's capabilities: %w", err)
	}
	has := func(capability int) bool {
		return data[capability/32].Effective>>(capability%32)&1 != 0
	}
	for _, c := range []struct {
		bit  int
		name string
	}{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}} {
		if !has(c.bit) && !has(unix.CAP_SYS_ADMIN) {
			return fmt.Errorf("%w %s: run as root, or setcap cap_bpf,cap_net_admin,cap_net_raw+ep on the program", ErrPermission, c.name)
		}
	}
	return nil
}
