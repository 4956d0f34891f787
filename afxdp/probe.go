package afxdp

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/xsk"
	"github.com/cell-runtime/cell/ebpf"
	"github.com/cell-runtime/cell/sched"
)

// Probe looks at what the host offers links past the kernel: AF_XDP sockets and
// programs at all, what of them its Linux has, locked memory, and for each
// interface that is up its queues, interrupts and programs. It changes nothing
// but for a socket that it makes and closes.
func Probe() []sched.Finding {
	all := []sched.Finding{probeSocket(), probeProgram(), probeKernel(kernelRelease()), probeMemlock(), probeJIT(os.DirFS("/proc/sys"))}
	for _, i := range interfaces(os.DirFS("/sys/class/net")) {
		all = append(all, i.findings()...)
	}
	return all
}

// probeSocket makes a socket, which says more than any version number.
func probeSocket() sched.Finding {
	f := sched.Finding{ID: "xdp.socket"}
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	switch {
	case err == nil:
		f.What, f.Evidence = "AF_XDP sockets can be made", "socket(AF_XDP) succeeds"
		if err := unix.Close(fd); err != nil {
			f.Evidence += ", closing it: " + err.Error()
		}
		return f
	case errors.Is(err, unix.EPERM):
		f.What = "this process may make no AF_XDP sockets; links take ordinary ones"
		f.Fix = "setcap cap_bpf,cap_net_admin,cap_net_raw+ep on the program, or a broker (package afxdp/broker)"
	default:
		f.What = "this kernel has no AF_XDP sockets; links take ordinary ones"
		f.Fix = "a Linux with CONFIG_XDP_SOCKETS"
	}
	f.Severity, f.Evidence = sched.Info, "socket(AF_XDP): "+err.Error()
	return f
}

// probeProgram says whether programs can be loaded, and what is missing.
func probeProgram() sched.Finding {
	f := sched.Finding{ID: "xdp.program"}
	err := ebpf.Probe()
	if err == nil {
		f.What, f.Evidence = "XDP programs can be loaded", "capabilities, types of programs and maps are there"
		return f
	}
	f.Severity, f.Evidence = sched.Info, err.Error()
	f.What = "XDP programs can't be loaded; links take ordinary sockets, and beacons are filtered behind those"
	switch {
	case errors.Is(err, ebpf.ErrPermission):
		f.Fix = "setcap cap_bpf,cap_net_admin,cap_net_raw+ep on the program"
	case errors.Is(err, ebpf.ErrMemlock):
		f.Fix = "ulimit -l unlimited, or LimitMEMLOCK=infinity in a systemd unit"
	}
	return f
}

// kernelSteps are the Linux versions that brought something to AF_XDP.
var kernelSteps = []struct {
	major, minor int
	what         string
}{
	{5, 4, "need-wakeup"},
	{5, 9, "attachments that end with their process"},
	{5, 10, "memory that several queues share"},
	{5, 11, "preferred busy polling"},
	{6, 6, "packets beyond a page"},
	{6, 8, "checksums and times by the NIC"},
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(u.Release[:])
}

// olderThan says whether a release of Linux comes before a version.
func olderThan(release string, major, minor int) (older, known bool) {
	var a, b int
	if _, err := fmt.Sscanf(release, "%d.%d", &a, &b); err != nil {
		return false, false
	}
	return cmp.Or(cmp.Compare(a, major), cmp.Compare(b, minor)) < 0, true
}

// probeKernel says what a release lacks.
func probeKernel(release string) sched.Finding {
	f := sched.Finding{ID: "xdp.kernel", Evidence: "uname -r is " + release}
	if older, known := olderThan(release, 0, 0); older || !known {
		f.Severity, f.What = sched.Info, "which Linux this is can't be told"
		return f
	}
	var lacks []string
	for _, s := range kernelSteps {
		if older, _ := olderThan(release, s.major, s.minor); older {
			lacks = append(lacks, fmt.Sprintf("%s (%d.%d)", s.what, s.major, s.minor))
		}
	}
	if len(lacks) == 0 {
		f.What = "Linux is new enough for all that AF_XDP links use"
		return f
	}
	f.Severity, f.What = sched.Info, "this Linux lacks "+strings.Join(lacks, ", ")
	return f
}

// wantedUmem is what the first connection over an interface locks with the default
// options, rounded up.
const wantedUmem = 20 << 20

func probeMemlock() sched.Finding {
	f := sched.Finding{ID: "xdp.memlock"}
	l, err := sched.Local().MemlockLimit()
	switch {
	case err != nil:
		f.Severity, f.What, f.Evidence = sched.Info, "the limit of locked memory can't be seen from here", err.Error()
		return f
	case l.Privileged:
		f.What, f.Evidence = "frames of any amount can be locked", "CAP_IPC_LOCK in CapEff of /proc/self/status"
		return f
	case l.Unlimited() || l.Bytes >= wantedUmem:
		f.What, f.Evidence = "frames can be locked", fmt.Sprintf("RLIMIT_MEMLOCK is %d", l.Bytes)
		return f
	}
	f.Severity = sched.Warning
	f.What = fmt.Sprintf("%d KiB can be locked, and the frames of an interface take some 18 MiB with the default options: the kernel says \"no buffer space\"", l.Bytes>>10)
	f.Evidence = fmt.Sprintf("RLIMIT_MEMLOCK is %d bytes, no CAP_IPC_LOCK", l.Bytes)
	f.Fix = "ulimit -l unlimited, LimitMEMLOCK=infinity in a systemd unit, CAP_IPC_LOCK, or lower Options.Window and Options.XDP.Peers"
	return f
}

func probeJIT(sys fs.FS) sched.Finding {
	f := sched.Finding{ID: "xdp.jit"}
	s, ok := text(sys, "net/core/bpf_jit_enable")
	switch {
	case !ok: // the kernel has it always on, or shows it to root alone
		f.What, f.Evidence = "nothing says that programs are interpreted", "net.core.bpf_jit_enable can't be read"
	case s == "0":
		f.Severity, f.What = sched.Warning, "the kernel interprets programs, at several times their cost for each packet"
		f.Evidence, f.Fix = "net.core.bpf_jit_enable is 0", "sysctl -w net.core.bpf_jit_enable=1"
	default:
		f.What, f.Evidence = "the kernel compiles programs", "net.core.bpf_jit_enable is "+s
	}
	return f
}

// text reads a file that has one line.
func text(sys fs.FS, name string) (s string, ok bool) {
	b, err := fs.ReadFile(sys, name)
	return strings.TrimSpace(string(b)), err == nil
}

// nic is an interface as its folder in /sys/class/net shows it.
type nic struct {
	sys  fs.FS
	name string
}

// maxInterfaces bounds the report of a host with thousands of containers.
const maxInterfaces = 32

// interfaces are those that are up and have an Ethernet address.
func interfaces(sys fs.FS) (all []nic) {
	entries, err := fs.ReadDir(sys, ".")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		n := nic{sys, e.Name()}
		kind, _ := n.text("type")
		flags, _ := n.text("flags")
		up, err := strconv.ParseUint(strings.TrimPrefix(flags, "0x"), 16, 32)
		if kind == "1" && err == nil && up&unix.IFF_UP != 0 && len(all) < maxInterfaces {
			all = append(all, n)
		}
	}
	return all
}

func (n nic) text(file string) (string, bool) { return text(n.sys, path.Join(n.name, file)) }

func (n nic) number(file string) int {
	s, _ := n.text(file)
	v, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return v
}

// physical says whether a device is behind it: veth, bridges and the like have
// none.
func (n nic) physical() bool {
	_, err := fs.Stat(n.sys, path.Join(n.name, "device"))
	return err == nil
}

func (n nic) findings() []sched.Finding {
	return slices.Concat([]sched.Finding{n.busyPoll()}, n.driver(), n.program())
}

// driver says what the driver offers, where the kernel tells.
func (n nic) driver() []sched.Finding {
	s, _ := n.text("ifindex")
	index, err := strconv.Atoi(s)
	if err != nil {
		return nil
	}
	d, err := xsk.DriverFeatures(index)
	if err != nil {
		return nil // that the kernel is older, another finding says
	}
	f := sched.Finding{ID: "xdp.driver." + n.name, Severity: sched.Info,
		Evidence: "netlink, family netdev (ynl --family netdev --do dev-get): " + fmt.Sprintf("%+v", d)}
	switch {
	case !d.Driver || !d.Redirect:
		f.What = fmt.Sprintf("the driver of %s runs no programs that redirect; links run theirs in generic mode", n.name)
		return []sched.Finding{f}
	case d.ZeroCopy:
		f.What = fmt.Sprintf("the driver of %s runs programs, and the device reads and writes frames itself (zero-copy)", n.name)
	default:
		f.What = fmt.Sprintf("the driver of %s runs programs; the kernel copies each packet once", n.name)
	}
	if offers := offered(&d); offers != "" {
		f.What += "; it offers " + offers + ", of which links use checksums (Options.XDP.OffloadChecksum) and packets beyond a page (Options.Datagram)"
	}
	return []sched.Finding{f}
}

// offered lists what metadata may ask for.
func offered(d *xsk.Features) string {
	var all []string
	for _, o := range []struct {
		there bool
		what  string
	}{{d.TxChecksum, "checksums of what is sent"}, {d.TxTime, "times of sending"}, {d.RxTime, "times of arrival"}, {d.MultiBuffer, "packets beyond a page"}} {
		if o.there {
			all = append(all, o.what)
		}
	}
	return strings.Join(all, ", ")
}

// busyPoll looks whether the kernel leaves the NIC's interrupts to who polls.
func (n nic) busyPoll() sched.Finding {
	irqs, timeout, threaded := n.number("napi_defer_hard_irqs"), n.number("gro_flush_timeout"), n.number("threaded")
	f := sched.Finding{ID: "xdp.busypoll." + n.name,
		Evidence: fmt.Sprintf("/sys/class/net/%s: napi_defer_hard_irqs is %d, gro_flush_timeout %d, threaded %d", n.name, irqs, timeout, threaded)}
	deferred := irqs > 0 && timeout > 0
	switch {
	case deferred && !n.physical():
		f.Severity = sched.Problem
		f.What = fmt.Sprintf("%s has no device behind it and defers interrupts: each packet waits for the timer (217 µs a round trip were seen on veth)", n.name)
		f.Fix = fmt.Sprintf("echo 0 > /sys/class/net/%s/napi_defer_hard_irqs; echo 0 > /sys/class/net/%s/gro_flush_timeout", n.name, n.name)
	case irqs > 0 != (timeout > 0):
		f.Severity = sched.Warning
		f.What = fmt.Sprintf("of napi_defer_hard_irqs and gro_flush_timeout %s has one without the other, which defers nothing or delays what is merged", n.name)
		f.Fix = fmt.Sprintf("set both (2 and 200000) where Options.BusyPoll is used, or both to 0, below /sys/class/net/%s", n.name)
	case deferred:
		f.What = fmt.Sprintf("%s leaves its interrupts to who polls with Options.BusyPoll; without that packets wait up to %d µs", n.name, timeout/1000)
		f.Severity = sched.Info
	case n.physical():
		f.Severity = sched.Info
		f.What = fmt.Sprintf("%s interrupts for each batch of packets; Options.BusyPoll gains little without deferring", n.name)
		f.Fix = fmt.Sprintf("with Options.BusyPoll: echo 2 > /sys/class/net/%s/napi_defer_hard_irqs; echo 200000 > /sys/class/net/%s/gro_flush_timeout", n.name, n.name)
	default:
		f.What = fmt.Sprintf("%s, which has no device behind it, defers nothing", n.name)
	}
	return f
}

// program says whether somebody has a program there.
func (n nic) program() []sched.Finding {
	s, _ := n.text("ifindex")
	index, err := strconv.Atoi(s)
	if err != nil {
		return nil
	}
	there, err := ebpf.Attached(index)
	if err != nil || len(there) == 0 {
		return nil
	}
	if a, yes, err := ebpf.Dispatcher(index); err == nil && yes {
		return []sched.Finding{{ID: "xdp.attached." + n.name, Severity: sched.Info,
			What:     fmt.Sprintf("%s has libxdp's dispatcher, beside whose programs that of a link finds a place", n.name),
			Evidence: fmt.Sprintf("program %d in mode %v", a.ID, a.Mode)}}
	}
	return []sched.Finding{{ID: "xdp.attached." + n.name, Severity: sched.Info,
		What:     fmt.Sprintf("%s has an XDP program; that of a link finds no place beside it, but in mode tcx the filter of beacons does", n.name),
		Evidence: fmt.Sprintf("program %d in mode %v", there[0].ID, there[0].Mode),
		Fix:      fmt.Sprintf("bpftool prog show id %d says whose it is", there[0].ID)}}
}
