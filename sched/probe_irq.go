package sched

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// irqLine is one device interrupt of /proc/interrupts.
type irqLine struct {
	number string
	count  uint64 // deliveries on the CPUs of interest, since boot
	name   string
}

// interruptLines reads the numbered lines of /proc/interrupts and counts what
// was delivered on cpus. Lines with letters (LOC, RES, …) belong to the
// architecture and can't be moved.
//
// Source: Documentation/filesystems/proc.rst, "interrupts".
func interruptLines(text string, cpus CPUSet) []irqLine {
	header, body, _ := strings.Cut(text, "\n")
	var columns []int // CPU number of each column: offline ones have none
	for _, name := range strings.Fields(header) {
		id, err := strconv.Atoi(strings.TrimPrefix(name, "CPU"))
		if err != nil {
			return nil
		}
		columns = append(columns, id)
	}
	var lines []irqLine
	for line := range strings.SplitSeq(body, "\n") {
		f := strings.Fields(line)
		if len(f) < 1+len(columns) {
			continue
		}
		number := strings.TrimSuffix(f[0], ":")
		if _, err := strconv.ParseUint(number, 10, 32); err != nil {
			continue
		}
		l := irqLine{number: number, name: strings.Join(f[min(len(f)-1, 1+len(columns)):], " ")}
		for i, id := range columns {
			n, err := strconv.ParseUint(f[1+i], 10, 64)
			if err == nil && cpus.Has(id) {
				l.count += n
			}
		}
		lines = append(lines, l)
	}
	return lines
}

// interrupts checks which devices interrupt the cores.
func (p probe) interrupts() Finding {
	f := Finding{ID: "irq.affinity"}
	text, err := p.text("proc/interrupts")
	if err != nil {
		f.Severity = Info
		f.What = "which interrupts reach the CPUs can't be seen from here"
		f.Evidence = err.Error()
		return f
	}
	var hits []irqLine
	for _, l := range interruptLines(text, p.cpus) {
		// Where it is delivered now counts; before, it may have been elsewhere.
		target := p.str("proc/irq/" + l.number + "/effective_affinity_list")
		if target == "" {
			target = p.str("proc/irq/" + l.number + "/smp_affinity_list")
		}
		set, err := ParseCPUList(target)
		if l.count > 0 && (err != nil || target == "" || !set.And(p.cpus).Empty()) {
			hits = append(hits, l)
		}
	}
	if len(hits) == 0 {
		f.What = fmt.Sprintf("no device interrupts CPUs %s", p.cpus)
		f.Evidence = "/proc/interrupts, /proc/irq/*/effective_affinity_list"
		return f
	}
	slices.SortStableFunc(hits, func(a, b irqLine) int { return cmp.Compare(b.count, a.count) })
	const shown = 5
	var names []string
	for _, l := range hits[:min(len(hits), shown)] {
		names = append(names, fmt.Sprintf("IRQ %s %s: %d", l.number, l.name, l.count))
	}
	if len(hits) > shown {
		names = append(names, fmt.Sprintf("and %d more", len(hits)-shown))
	}
	f.Severity = Warning
	f.What = fmt.Sprintf("%d device interrupts are delivered on CPUs %s", len(hits), p.cpus)
	f.Evidence = "since boot: " + strings.Join(names, "; ")
	f.Fix = p.interruptFix()
	return f
}

func (p probe) interruptFix() string {
	others := p.t.Online.Without(p.cpus)
	if others.Empty() {
		return "leave at least one CPU to the interrupts: these are all there are"
	}
	return fmt.Sprintf("for each: echo %s > /proc/irq/N/smp_affinity_list; at boot irqaffinity=%s; ethtool -L to give a device fewer queues",
		others, others)
}

// maxProcesses bounds the search for a daemon.
const maxProcesses = 1 << 16

// irqBalance checks for the daemon that moves interrupts about.
func (p probe) irqBalance() Finding {
	f := Finding{ID: "irq.irqbalance", What: "irqbalance does not run", Evidence: "no such process in /proc"}
	entries, err := fs.ReadDir(p.fsys, "proc")
	if err != nil {
		f.Severity, f.What, f.Evidence = Info, "whether irqbalance runs can't be seen from here", err.Error()
		return f
	}
	for _, e := range entries[:min(len(entries), maxProcesses)] {
		if _, err := strconv.ParseUint(e.Name(), 10, 32); err != nil || p.str("proc/"+e.Name()+"/comm") != "irqbalance" {
			continue
		}
		f.Severity = Info
		f.What = "irqbalance runs and moves interrupts between CPUs every 10 s; it leaves isolated CPUs alone"
		f.Evidence = "process " + e.Name()
		if open := p.cpus.Without(p.t.Isolated); !open.Empty() {
			f.Severity = Warning
			f.What = fmt.Sprintf("irqbalance runs and may move interrupts to CPUs %s at any time", open)
			f.Fix = fmt.Sprintf("IRQBALANCE_BANNED_CPULIST=%s in /etc/default/irqbalance, or stop the daemon", p.cpus)
		}
		return f
	}
	return f
}
