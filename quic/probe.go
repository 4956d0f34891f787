package quic

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/cell-runtime/cell/sched"
)

// wantedBuffer is what quic-go asks the kernel for (7 MiB), which holds the
// bursts of a fast path; the kernel gives no more than net.core.rmem_max.
const wantedBuffer = 7 << 20

// Probe looks at what the host grants sockets between hosts, and says how to
// mend what is little. It only reads, and needs no privilege.
func Probe() []sched.Finding { return probe(os.DirFS("/proc/sys/net")) }

func probe(sys fs.FS) []sched.Finding {
	return []sched.Finding{
		buffer(sys, "udp.rmem", "rmem_max", "received"),
		buffer(sys, "udp.wmem", "wmem_max", "sent"),
		congestion(sys),
	}
}

func buffer(sys fs.FS, id, name, what string) sched.Finding {
	file := path.Join("core", name)
	f := sched.Finding{ID: id}
	data, err := fs.ReadFile(sys, file)
	n := 0
	if err == nil {
		n, err = strconv.Atoi(strings.TrimSpace(string(data)))
	}
	if err != nil {
		f.Severity, f.What, f.Evidence = sched.Info, "the bound of a UDP socket's buffer is unknown", err.Error()
		return f
	}
	f.Evidence = fmt.Sprintf("net.core.%s is %d", name, n)
	if n >= wantedBuffer {
		f.What = fmt.Sprintf("a UDP socket may hold %d MiB that were not yet %s", n>>20, what)
		return f
	}
	f.Severity = sched.Warning
	f.What = fmt.Sprintf("a UDP socket may hold %d KiB that were not yet %s; QUIC loses packets of bursts beyond that, and takes it for congestion", n>>10, what)
	f.Fix = fmt.Sprintf("sysctl -w net.core.%s=%d", name, wantedBuffer)
	return f
}

func congestion(sys fs.FS) sched.Finding {
	f := sched.Finding{ID: "tcp.bbr"}
	data, err := fs.ReadFile(sys, "ipv4/tcp_available_congestion_control")
	if err != nil {
		f.Severity, f.What, f.Evidence = sched.Info, "which congestion controls TCP has is unknown", err.Error()
		return f
	}
	f.Evidence = "net.ipv4.tcp_available_congestion_control is " + strings.TrimSpace(string(data))
	if slices.Contains(strings.Fields(string(data)), "bbr") {
		f.What = "TCP can use BBR, for bulk over paths that lose packets (Options.Congestion)"
		return f
	}
	f.Severity = sched.Info
	f.What = "TCP can't use BBR, which moves many times as much over paths that lose packets"
	f.Fix = "modprobe tcp_bbr"
	return f
}
