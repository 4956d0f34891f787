package report

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/cell-runtime/cell/sched"
)

// Host is what a report depends on beside the measured code.
type Host struct {
	Kernel   string `json:"kernel"`
	Arch     string `json:"arch"`
	CPU      string `json:"cpu"`
	CPUs     int    `json:"cpus_online"`
	Virtual  bool   `json:"virtual"`
	Governor string `json:"governor"`
	Clock    string `json:"clock"`
	Go       string `json:"go"`
}

const unknown = "unknown"

// CollectHost looks at this machine. What it can't read is "unknown".
func CollectHost() Host {
	h := Host{Kernel: line("/proc/sys/kernel/osrelease"), Arch: runtime.GOARCH, CPU: unknown,
		Governor: governor(), Clock: sched.Clock().Source, Go: runtime.Version()}
	info, _ := os.ReadFile("/proc/cpuinfo")
	for text := range strings.Lines(string(info)) {
		name, value, _ := strings.Cut(text, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(name) {
		case "processor":
			h.CPUs++
		case "model name":
			h.CPU = value
		case "flags":
			h.Virtual = h.Virtual || slices.Contains(strings.Fields(value), "hypervisor")
		}
	}
	return h
}

func line(file string) string {
	b, err := os.ReadFile(file)
	first, _, _ := strings.Cut(string(b), "\n")
	if first = strings.TrimSpace(first); err != nil || first == "" {
		return unknown
	}
	return first
}

// governor joins the frequency governors of all CPUs.
func governor() string {
	files, _ := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
	var found []string
	for _, f := range files {
		found = append(found, line(f))
	}
	if slices.Sort(found); len(found) == 0 {
		return "none"
	}
	return strings.Join(slices.Compact(found), ", ")
}

// String describes the host in a sentence's length.
func (h Host) String() string {
	virtual := ""
	if h.Virtual {
		virtual = " (virtual machine)"
	}
	return fmt.Sprintf("%s, %d CPUs%s, Linux %s %s, governor %s, clock %s, %s",
		h.CPU, h.CPUs, virtual, h.Kernel, h.Arch, h.Governor, h.Clock, h.Go)
}

// Versions returns the versions of the modules that this program was built of.
func Versions() map[string]string {
	v := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			v[m.Path] = m.Version
		}
	}
	return v
}
