package sched

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// virtualProducts are parts of the product names that hypervisors give their
// machines, in lower case. Some architectures have no other sign.
var virtualProducts = []string{"virtual", "kvm", "qemu", "hvm domu", "bochs", "compute engine", "droplet"}

// hypervisor checks whether the cores are real.
func (p probe) hypervisor() Finding {
	f := Finding{ID: "host.hypervisor"}
	var signs []string
	if kind := p.str("sys/hypervisor/type"); kind != "" {
		signs = append(signs, "/sys/hypervisor/type is "+kind)
	}
	// One line per CPU, all alike; field finds the first.
	if flags := strings.Fields(field(p.str("proc/cpuinfo"), "flags")); slices.Contains(flags, "hypervisor") {
		signs = append(signs, "flag hypervisor in /proc/cpuinfo")
	}
	const productFile = "sys/class/dmi/id/product_name"
	product := p.str(productFile)
	if slices.ContainsFunc(virtualProducts, func(v string) bool { return strings.Contains(strings.ToLower(product), v) }) {
		signs = append(signs, fmt.Sprintf("/%s is %q", productFile, product))
	}
	if len(signs) == 0 {
		f.What = "no sign of a hypervisor"
		f.Evidence = fmt.Sprintf("/sys/hypervisor/type, flags in /proc/cpuinfo, /%s %q", productFile, product)
		return f
	}
	f.Severity = Warning
	f.What = "this is a virtual machine: the host may take a core away at any time, and caches and siblings may not be where they seem"
	f.Evidence = strings.Join(signs, ", ")
	f.Fix = "pin the virtual CPUs to dedicated cores on the host, with the real topology passed through; measure with Gaps what is left"
	return f
}

// CPUTimes is how long a CPU was in each state since boot, in ticks of
// USER_HZ, 10 ms each.
type CPUTimes struct {
	User, Nice, System, Idle, IOWait, IRQ, SoftIRQ, Steal uint64
}

// Total returns the sum of all states.
func (c CPUTimes) Total() uint64 {
	return c.User + c.Nice + c.System + c.Idle + c.IOWait + c.IRQ + c.SoftIRQ + c.Steal
}

// Since returns the difference between c and an earlier reading.
func (c CPUTimes) Since(earlier CPUTimes) CPUTimes {
	return CPUTimes{
		User: c.User - earlier.User, Nice: c.Nice - earlier.Nice, System: c.System - earlier.System,
		Idle: c.Idle - earlier.Idle, IOWait: c.IOWait - earlier.IOWait, IRQ: c.IRQ - earlier.IRQ,
		SoftIRQ: c.SoftIRQ - earlier.SoftIRQ, Steal: c.Steal - earlier.Steal,
	}
}

// CPUTimes returns the summed times of the given CPUs from /proc/stat. Two
// readings around a run tell how much of it the hypervisor took.
//
// Source: proc_stat(5).
func (h *Host) CPUTimes(cpus CPUSet) (CPUTimes, error) {
	text, err := h.text("proc/stat")
	if err != nil {
		return CPUTimes{}, fmt.Errorf("%w: %w", ErrNotSupported, err)
	}
	var sum CPUTimes
	for line := range strings.SplitSeq(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 9 || !strings.HasPrefix(f[0], "cpu") {
			continue
		}
		id, err := strconv.Atoi(f[0][len("cpu"):])
		if err != nil || !cpus.Has(id) {
			continue // the first line, "cpu", sums up all of them
		}
		states := [...]*uint64{&sum.User, &sum.Nice, &sum.System, &sum.Idle, &sum.IOWait, &sum.IRQ, &sum.SoftIRQ, &sum.Steal}
		for i, state := range states {
			n, err := strconv.ParseUint(f[1+i], 10, 64)
			if err != nil {
				return CPUTimes{}, fmt.Errorf("%w: /proc/stat: %.32q is no number", ErrSyntax, f[1+i])
			}
			*state += n
		}
	}
	return sum, nil
}

// steal checks how much the hypervisor took from the cores.
func (p probe) steal() Finding {
	f := Finding{ID: "host.steal"}
	times, err := p.CPUTimes(p.cpus)
	if err != nil {
		f.Severity, f.What, f.Evidence = Info, "the time that the hypervisor took can't be seen from here", err.Error()
		return f
	}
	// Idle time can't be stolen: what counts is the share of what was wanted.
	wanted := times.Total() - times.Idle - times.IOWait
	f.Evidence = fmt.Sprintf("/proc/stat: %d of %d busy ticks of CPUs %s since boot", times.Steal, wanted, p.cpus)
	f.What = "no time was reported stolen by a hypervisor; not all report it"
	if times.Steal == 0 {
		return f
	}
	share := 100 * float64(times.Steal) / float64(wanted)
	f.Severity = Info
	f.What = fmt.Sprintf("the hypervisor took %.2f %% of the time in which CPUs %s wanted to run", share, p.cpus)
	if share >= 1 {
		f.Severity = Warning
		f.Fix = "dedicated cores from the provider, or another machine"
	}
	return f
}
