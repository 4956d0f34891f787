package sched

import (
	"fmt"
	"strings"
)

// Request is what a workload needs of a host.
type Request struct {
	// Engines is how many threads want a core of their own.
	Engines int
	// Control is how many further CPUs the control plane needs at least: the
	// rest of the process, the Go runtime included. With 0 it shares the
	// engines' cores.
	Control int
	// Spin says that engines never sleep. A CPU quota below their number
	// then stops them in every period, and is refused.
	Spin bool
	// ShareLLC demands that all engines share a last-level cache, as the two
	// ends of a ring should. Without it, it is only preferred.
	ShareLLC bool
	// AllowSiblings permits two engines on hardware threads of one physical
	// core. Each then runs at about half speed.
	AllowSiblings bool
	// Near are CPUs to be preferred above all else, such as the local_cpulist
	// of a network device.
	Near CPUSet
	// Exclude are CPUs that are not to be used, such as those of other plans.
	Exclude CPUSet
	// CPUs, when not empty, are the cores that somebody has chosen for the
	// engines, in this order. The plan checks them and says what speaks
	// against them, but refuses only what can't work.
	CPUs []int
}

// RingPair is the request for the two ends of a ring in spin mode.
func RingPair() Request { return Request{Engines: 2, Spin: true, ShareLLC: true} }

// Placement is one engine's core and why it was chosen.
type Placement struct {
	CPU int      `json:"cpu"`
	Why []string `json:"why"`
}

// Plan says where the threads of a workload go. It changes nothing; pass each
// engine's CPU to [Pin] on its thread.
type Plan struct {
	// Engines has one core for each engine.
	Engines []Placement `json:"engines"`
	// Control is where everything else should run: usable CPUs that are
	// neither an engine's nor isolated, without siblings of engines if it can
	// do without. Empty when the request asked for none and none is left.
	Control CPUSet `json:"control"`
	// Idle are SMT siblings of the engines' cores, on which nothing should
	// run because it would take half of the engine's core.
	Idle CPUSet `json:"idle"`
	// Why says what holds for the whole, such as how the cores are connected.
	Why []string `json:"why"`
	// Warnings say what the plan could not avoid.
	Warnings []string `json:"warnings"`
}

// CPUs returns the engines' cores in order.
func (p Plan) CPUs() []int {
	ids := make([]int, len(p.Engines))
	for i, e := range p.Engines {
		ids[i] = e.CPU
	}
	return ids
}

// String returns the plan with its reasons, for a terminal.
func (p Plan) String() string {
	var b strings.Builder
	for i, e := range p.Engines {
		fmt.Fprintf(&b, "engine %d: CPU %d (%s)\n", i, e.CPU, strings.Join(e.Why, ", "))
	}
	if !p.Control.Empty() {
		fmt.Fprintf(&b, "control plane: CPU %s\n", p.Control)
	}
	if !p.Idle.Empty() {
		fmt.Fprintf(&b, "keep idle: CPU %s (siblings of engines)\n", p.Idle)
	}
	for _, w := range p.Why {
		fmt.Fprintf(&b, "%s\n", w)
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	return b.String()
}

// NewPlan chooses cores for a workload. In this order it prefers: cores near
// what the request names, isolated ones, one shared last-level cache (then one
// NUMA node, then one package), nohz_full cores, performance cores, not the
// core of CPU 0 (on which the kernel does most of its own work), the higher
// frequency, the lower number. Every engine gets a physical core of its own
// unless the request permits otherwise.
//
// The error wraps [ErrNoPlan], and besides [ErrCPU] when a named CPU can't be
// used, or [ErrNotSupported] when a shared cache is demanded and the kernel, such
// as that of some virtual machines, does not tell which CPUs share one; it says
// what is missing and how to get it.
func NewPlan(t *Topology, r Request) (Plan, error) {
	if len(r.CPUs) > 0 && r.Engines == 0 {
		r.Engines = len(r.CPUs)
	}
	if r.Engines < 1 || r.Control < 0 {
		return Plan{}, fmt.Errorf("%w: %d engines and %d control CPUs were asked for; at least one engine is needed", ErrNoPlan, r.Engines, r.Control)
	}
	if q := t.Cgroup.Quota; r.Spin && q > 0 && q < float64(r.Engines) {
		return Plan{}, fmt.Errorf("%w: %d spinning engines need %d CPUs but the quota of %s is %.2f, so they would be stopped in every period; "+
			"raise the quota (cpu.max, --cpus, the CPU limit of the pod), ask for fewer engines, or let them park",
			ErrNoPlan, r.Engines, r.Engines, t.Cgroup.QuotaDir, q)
	}
	var c choice
	var err error
	if len(r.CPUs) > 0 {
		c, err = namedCPUs(t, r)
	} else {
		c, err = bestCPUs(t, r)
	}
	if err != nil {
		return Plan{}, err
	}
	p := describe(t, r, c)
	if err := p.placeControl(t, r); err != nil {
		return Plan{}, err
	}
	return p, nil
}

// namedCPUs checks what somebody has chosen.
func namedCPUs(t *Topology, r Request) (choice, error) {
	if len(r.CPUs) != r.Engines {
		return choice{}, fmt.Errorf("%w: %d CPUs were named for %d engines; name one for each", ErrNoPlan, len(r.CPUs), r.Engines)
	}
	var c choice
	for _, id := range r.CPUs {
		switch {
		case !t.Online.Has(id):
			return choice{}, fmt.Errorf("%w: %w: CPU %d is not online; online are %s", ErrNoPlan, ErrCPU, id, t.Online)
		case !t.Usable.Has(id):
			return choice{}, fmt.Errorf("%w: %w: CPU %d is outside of what this process may use, %s; %s",
				ErrNoPlan, ErrCPU, id, orNone(t.Usable), usableLimits(t))
		case r.Exclude.Has(id):
			return choice{}, fmt.Errorf("%w: %w: CPU %d is both named and excluded", ErrNoPlan, ErrCPU, id)
		}
		cpu, _ := t.CPU(id)
		for _, other := range c.cpus {
			if other.ID == id {
				return choice{}, fmt.Errorf("%w: CPU %d was named twice; two engines on one CPU only take turns", ErrNoPlan, id)
			}
		}
		c.cpus = append(c.cpus, cpu)
	}
	c.span = spanOf(t, c.cpus)
	if r.ShareLLC && c.span > spanLLC {
		return choice{}, fmt.Errorf("%w: the named CPUs %v do not share a last-level cache, which was demanded: they %s; name others or give up the demand",
			ErrNoPlan, r.CPUs, c.span)
	}
	return c, nil
}

// usableLimits says what narrows the usable CPUs, and how to widen it.
func usableLimits(t *Topology) string {
	var limits []string
	if s := t.Cgroup.Cpuset; !s.Empty() && !t.Online.Subset(s) {
		limits = append(limits, fmt.Sprintf("the cpuset of %s is %s (cpuset.cpus, --cpuset-cpus)", t.Cgroup.CpusetDir, s))
	}
	if !t.Affinity.Empty() && !t.Online.Subset(t.Affinity) {
		limits = append(limits, fmt.Sprintf("the process was started with affinity %s (taskset -c, CPUAffinity=)", t.Affinity))
	}
	if len(limits) == 0 {
		return fmt.Sprintf("the machine has %d CPUs online", t.Online.Len())
	}
	return strings.Join(limits, "; ")
}

// orNone makes an empty set readable in a sentence.
func orNone(s CPUSet) string {
	if s.Empty() {
		return "none"
	}
	return s.String()
}

// placeControl finds where the rest of the process runs.
func (p *Plan) placeControl(t *Topology, r Request) error {
	engines := CPUs(p.CPUs()...)
	for _, e := range p.Engines {
		c, _ := t.CPU(e.CPU)
		p.Idle = p.Idle.Or(c.Siblings)
	}
	p.Idle = p.Idle.Without(engines)
	// The scheduler does not spread threads over isolated CPUs: they would
	// all pile up on the first one.
	rest := t.Usable.Without(engines).Without(t.Isolated).Without(r.Exclude)
	p.Control = rest.Without(p.Idle)
	if need := max(r.Control, 1); p.Control.Len() < need && p.Control.Len() < rest.Len() {
		p.Control = rest
		p.Idle = p.Idle.Without(rest)
		p.warn("the control plane needs SMT siblings of engines (%s), which slows those engines down", rest)
	}
	if have := p.Control.Len(); have < r.Control {
		return fmt.Errorf("%w: the control plane needs %d CPUs but only %d are left beside %d engines (%s usable); "+
			"ask for fewer engines or for less control, or widen what this process may use: %s",
			ErrNoPlan, r.Control, have, r.Engines, orNone(t.Usable), usableLimits(t))
	}
	if p.Control.Empty() {
		p.warn("no CPU is left for the control plane and the Go runtime: they take time from the engines")
	}
	if q := t.Cgroup.Quota; q > 0 && q < float64(r.Engines+r.Control) {
		p.warn("the CPU quota of %s is %.2f for %d engines and %d control CPUs: when it is spent all threads stop for the rest of the period",
			t.Cgroup.QuotaDir, q, r.Engines, r.Control)
	}
	return nil
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}
