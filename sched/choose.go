package sched

import (
	"cmp"
	"fmt"
	"slices"
)

// span is the narrowest thing that a set of cores shares; its text completes
// "the engines …".
type span uint8

const (
	spanLLC span = iota
	spanNode
	spanPackage
	spanHost
)

func (s span) String() string {
	return [...]string{"share one last-level cache", "are on one NUMA node but have several last-level caches",
		"are in one package but on several NUMA nodes", "are in several packages"}[s]
}

// choice is a set of cores for the engines.
type choice struct {
	cpus  []CPU
	span  span
	group CPUSet // what it was chosen from
}

// bestCPUs tries every group of CPUs that share something, takes the best
// cores of each, and keeps the best of those.
func bestCPUs(t *Topology, r Request) (choice, error) {
	candidates := t.Usable.Without(r.Exclude)
	var best choice
	cacheKnown := false
	for _, group := range groups(t) {
		cacheKnown = cacheKnown || group.span == spanLLC
		if r.ShareLLC && group.span > spanLLC {
			continue
		}
		cpus := pick(t, r, group.group.And(candidates))
		if len(cpus) < r.Engines {
			continue
		}
		c := choice{cpus: cpus, span: group.span, group: group.group}
		if best.cpus == nil || compareChoices(t, r, c, best) < 0 {
			best = c
		}
	}
	if best.cpus == nil {
		return choice{}, noCPUs(t, r, candidates, cacheKnown)
	}
	best.span = spanOf(t, best.cpus)
	return best, nil
}

// groups lists what cores can share, narrow groups first.
func groups(t *Topology) []choice {
	var caches, nodes, packages []choice
	add := func(list []choice, s span, set CPUSet) []choice {
		if set.Empty() || slices.ContainsFunc(list, func(c choice) bool { return c.group.Equal(set) }) {
			return list
		}
		return append(list, choice{span: s, group: set})
	}
	inPackage := map[int]CPUSet{}
	for _, c := range t.CPUs {
		caches = add(caches, spanLLC, c.LLC)
		inPackage[c.Package] = inPackage[c.Package].Or(CPUs(c.ID))
	}
	for _, n := range t.Nodes {
		nodes = add(nodes, spanNode, n.CPUs)
	}
	for _, c := range t.CPUs {
		packages = add(packages, spanPackage, inPackage[c.Package])
	}
	return append(slices.Concat(caches, nodes, packages), choice{span: spanHost, group: t.Online})
}

// spanOf finds what chosen cores share.
func spanOf(t *Topology, cpus []CPU) span {
	s := spanLLC
	for _, c := range cpus[1:] {
		switch {
		case t.ShareLLC(cpus[0].ID, c.ID):
		case c.Node == cpus[0].Node && c.Package == cpus[0].Package:
			s = max(s, spanNode)
		case c.Package == cpus[0].Package:
			s = max(s, spanPackage)
		default:
			s = max(s, spanHost)
		}
	}
	return s
}

// pick takes the best cores of one group, one for each physical core, and
// siblings only after those and if permitted. Fewer than r.Engines come back
// where the group has not enough.
func pick(t *Topology, r Request, group CPUSet) []CPU {
	var list []CPU
	for _, c := range t.CPUs {
		if group.Has(c.ID) {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b CPU) int { return compareCPUs(t, r, a, b) })
	var picked, siblings []CPU
	taken := r.Exclude // a core shared with an excluded CPU counts as taken
	for _, c := range list {
		if c.Siblings.And(taken).Empty() {
			picked = append(picked, c)
		} else {
			siblings = append(siblings, c)
		}
		taken = taken.Or(c.Siblings)
	}
	if r.AllowSiblings {
		picked = append(picked, siblings...)
	}
	return picked[:min(len(picked), r.Engines)]
}

// badness is a core's disadvantages, the weightiest first; 0 is good.
func badness(t *Topology, r Request, c CPU) [5]int {
	cpu0, _ := t.CPU(0)
	return [5]int{
		boolInt(!r.Near.Empty() && !r.Near.Has(c.ID)),
		boolInt(!c.Isolated),
		boolInt(!c.NoHzFull),
		boolInt(c.Kind == KindEfficiency),
		boolInt(c.ID == 0 || cpu0.Siblings.Has(c.ID)),
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func compareCPUs(t *Topology, r Request, a, b CPU) int {
	x, y := badness(t, r, a), badness(t, r, b)
	return cmp.Or(slices.Compare(x[:], y[:]), cmp.Compare(b.MaxKHz, a.MaxKHz), cmp.Compare(a.ID, b.ID))
}

// compareChoices is below 0 if a is the better one.
func compareChoices(t *Topology, r Request, a, b choice) int {
	x, y := total(t, r, a), total(t, r, b)
	return slices.Compare(x[:], y[:])
}

// total sums up the disadvantages of a set of cores in the order in which
// NewPlan documents its preferences. Sharing one core comes first: it halves
// the speed.
func total(t *Topology, r Request, c choice) [8]int {
	var sum [5]int
	shared, slowness := 0, 0
	cores := map[int]bool{}
	for _, cpu := range c.cpus {
		for i, b := range badness(t, r, cpu) {
			sum[i] += b
		}
		shared += boolInt(cores[cpu.Core])
		cores[cpu.Core] = true
		slowness -= int(cpu.MaxKHz / 1000)
	}
	return [8]int{shared, sum[0], sum[1], int(c.span), sum[2], sum[3], sum[4], slowness}
}

// noCPUs says why nothing fits.
func noCPUs(t *Topology, r Request, candidates CPUSet, cacheKnown bool) error {
	cores := map[int]bool{}
	for _, c := range t.CPUs {
		if candidates.Has(c.ID) {
			cores[c.Core] = true
		}
	}
	switch {
	case candidates.Len() < r.Engines:
		return fmt.Errorf("%w: %d engines need %d CPUs but only %d can be used (%s); ask for fewer engines or widen it: %s",
			ErrNoPlan, r.Engines, r.Engines, candidates.Len(), orNone(candidates), usableLimits(t))
	case len(cores) < r.Engines && !r.AllowSiblings:
		return fmt.Errorf("%w: %d engines need as many physical cores but CPUs %s are on %d; ask for fewer engines or allow SMT siblings",
			ErrNoPlan, r.Engines, candidates, len(cores))
	case r.ShareLLC && !cacheKnown:
		return fmt.Errorf("%w: %w: the kernel does not tell which CPUs share a last-level cache, which was demanded; name the CPUs or give up the demand",
			ErrNoPlan, ErrNotSupported)
	case r.ShareLLC:
		return fmt.Errorf("%w: no %d of the free cores among CPUs %s share a last-level cache; ask for fewer engines, give up the demand, or widen it: %s",
			ErrNoPlan, r.Engines, candidates, usableLimits(t))
	}
	return fmt.Errorf("%w: CPUs %s have no %d free physical cores once CPUs %s are left out; exclude less or allow SMT siblings",
		ErrNoPlan, t.Usable, r.Engines, orNone(r.Exclude))
}

// describe turns a choice into a plan with reasons.
func describe(t *Topology, r Request, c choice) Plan {
	var p Plan
	chosen := CPUSet{}
	for _, cpu := range c.cpus {
		p.Engines = append(p.Engines, Placement{CPU: cpu.ID, Why: reasons(t, r, cpu)})
		if other := cpu.Siblings.And(chosen); !other.Empty() {
			p.warn("CPU %d is an SMT sibling of CPU %s: the two engines share one physical core", cpu.ID, other)
		}
		if !t.Isolated.Empty() && !cpu.Isolated {
			p.warn("CPU %d is not isolated although the host has isolated CPUs (%s)", cpu.ID, t.Isolated)
		}
		if cpu.Kind == KindEfficiency {
			p.warn("CPU %d is an efficiency core", cpu.ID)
		}
		chosen = chosen.Or(CPUs(cpu.ID))
	}
	if len(c.cpus) < 2 {
		return p
	}
	p.Why = append(p.Why, "the engines "+c.span.String())
	switch {
	case c.cpus[0].LLC.Empty():
		p.warn("the kernel does not tell which CPUs share a cache")
	case c.span > spanLLC:
		p.warn("the engines do not share a last-level cache: a round trip between them takes several times as long")
	}
	return p
}

// reasons says what speaks for a core, and what against.
func reasons(t *Topology, r Request, c CPU) []string {
	var why []string
	if len(r.CPUs) > 0 {
		why = append(why, "named in the request")
	}
	if r.Near.Has(c.ID) {
		why = append(why, "near what was asked for")
	}
	switch {
	case c.Isolated && c.NoHzFull:
		why = append(why, "isolated, no timer tick")
	case c.Isolated:
		why = append(why, "isolated")
	case t.Isolated.Empty():
		why = append(why, "no CPU of the host is isolated")
	default:
		why = append(why, "not isolated")
	}
	if c.Kind != KindUniform {
		why = append(why, c.Kind.String()+" core")
	}
	if c.Siblings.Len() > 1 {
		why = append(why, fmt.Sprintf("physical core of CPUs %s", c.Siblings))
	}
	if len(t.Nodes) > 1 {
		why = append(why, fmt.Sprintf("NUMA node %d", c.Node))
	}
	if cpu0, ok := t.CPU(0); ok && cpu0.Siblings.Has(c.ID) {
		why = append(why, "on the core of CPU 0, which the kernel uses most")
	} else if ok && t.Usable.Has(0) {
		why = append(why, "not the core of CPU 0")
	}
	return why
}
