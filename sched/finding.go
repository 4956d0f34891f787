package sched

import (
	"fmt"
	"slices"
)

// Severity says how much a finding matters to a thread that wants a core for
// itself.
type Severity uint8

// The severities, in ascending order.
const (
	OK      Severity = iota // as it should be
	Info                    // worth knowing; nothing to mend, or unknown
	Warning                 // costs tail latency
	Problem                 // defeats the purpose
)

var severityNames = [...]string{OK: "ok", Info: "info", Warning: "warning", Problem: "problem"}

func (s Severity) String() string {
	if int(s) < len(severityNames) {
		return severityNames[s]
	}
	return fmt.Sprintf("severity %d", uint8(s))
}

// MarshalText implements [encoding.TextMarshaler] with the name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Severity) UnmarshalText(text []byte) error {
	i := slices.Index(severityNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("%w: %.32q is no severity", ErrSyntax, text)
	}
	*s = Severity(i)
	return nil
}

// Finding is one property of the host that a latency-critical thread depends
// on. A program prints it; nothing needs to be computed from it.
type Finding struct {
	// ID names the check, "cpu.governor". It is stable between releases.
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	// What is one sentence for a person.
	What string `json:"what"`
	// Evidence is what was read, and where.
	Evidence string `json:"evidence"`
	// Fix is a command or setting that mends it; "" where nothing needs
	// mending or nothing can be done from inside.
	Fix string `json:"fix,omitempty"`
}

// String returns the finding in up to three lines.
func (f Finding) String() string {
	s := fmt.Sprintf("%-7s %s: %s", f.Severity, f.ID, f.What)
	if f.Evidence != "" {
		s += "\n        evidence: " + f.Evidence
	}
	if f.Fix != "" {
		s += "\n        fix: " + f.Fix
	}
	return s
}

// Worst returns the highest severity among findings, OK for none.
func Worst(findings []Finding) Severity {
	worst := OK
	for _, f := range findings {
		worst = max(worst, f.Severity)
	}
	return worst
}

// probe is what the checks look at.
type probe struct {
	*Host
	t    *Topology
	cpus CPUSet // on which the latency-critical threads run
}

// checks in the order of the report: each returns one finding.
var checks = []func(probe) Finding{
	probe.isolation, probe.nohzFull, probe.smt, probe.governor, probe.idleStates,
	probe.cpuset, probe.quota,
	probe.interrupts, probe.irqBalance,
	probe.realtime, probe.watchdog, probe.clocksource,
	probe.memlock, probe.hugePages, probe.numaBalancing, probe.swap,
	probe.hypervisor, probe.steal,
}

// Probe looks for what disturbs threads that spin or wait on the given CPUs,
// usually those of a [Plan]; with an empty set, on any usable one. It returns
// one finding for each check, also for what is in order, always in the same
// order. It only reads, needs no privilege, and takes some milliseconds.
func (h *Host) Probe(t *Topology, cpus CPUSet) []Finding {
	if cpus.Empty() {
		cpus = t.Usable
	}
	p := probe{Host: h, t: t, cpus: cpus}
	findings := make([]Finding, len(checks))
	for i, check := range checks {
		findings[i] = check(p)
	}
	return findings
}
