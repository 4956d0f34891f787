package sched

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CoreKind is what a CPU is among unlike ones.
type CoreKind uint8

// The kinds. On a machine whose cores are all alike every CPU is KindUniform.
const (
	KindUniform     CoreKind = iota
	KindPerformance          // Intel P-core, Arm big
	KindEfficiency           // Intel E-core, Arm LITTLE
)

func (k CoreKind) String() string {
	switch k {
	case KindPerformance:
		return "performance"
	case KindEfficiency:
		return "efficiency"
	}
	return "uniform"
}

// CPU is one logical CPU: what the kernel schedules a thread on.
type CPU struct {
	ID       int
	Core     int    // physical core, named by the lowest CPU number on it
	Package  int    // socket
	Node     int    // NUMA node; 0 where there are none
	Siblings CPUSet // online CPUs of the same physical core, itself included
	// LLC is the set of online CPUs that share the last-level cache with this
	// one, itself included. Empty where the kernel does not tell; then
	// nothing is known about sharing.
	LLC      CPUSet
	LLCLevel int      // 3 for an L3; 0 where unknown
	LLCSize  int64    // bytes; 0 where unknown
	Kind     CoreKind // relative to the machine's other cores
	MaxKHz   int64    // highest frequency; 0 where unknown
	Isolated bool     // isolcpus= or an isolated cpuset partition: the scheduler puts nothing here by itself
	NoHzFull bool     // nohz_full=: no timer tick while one thread runs
}

// Node is one NUMA node with its online CPUs.
type Node struct {
	ID   int
	CPUs CPUSet
}

// Topology is a machine and what of it this process may use. It is plain data:
// read it once at start, before any thread is pinned, because a pinned thread
// sees its own narrow affinity.
type Topology struct {
	CPUs  []CPU  // the online ones, ascending by ID
	Nodes []Node // ascending by ID, at least one

	Online   CPUSet
	Isolated CPUSet
	NoHzFull CPUSet

	Affinity CPUSet // of the process's first thread, as inherited
	Cgroup   Cgroup // cpuset and quota

	// Usable is where a thread of this process can be pinned: online, within
	// the cpuset, and within the affinity. Isolated CPUs, which the kernel
	// leaves out of the affinity that processes inherit, count as usable
	// unless the affinity was narrowed beyond that on purpose.
	Usable CPUSet
}

// CPU returns the online CPU with number id.
func (t *Topology) CPU(id int) (CPU, bool) {
	i, ok := slices.BinarySearchFunc(t.CPUs, id, func(c CPU, id int) int { return c.ID - id })
	if !ok {
		return CPU{}, false
	}
	return t.CPUs[i], true
}

// ShareLLC reports whether CPUs a and b are known to share a last-level cache.
func (t *Topology) ShareLLC(a, b int) bool {
	c, ok := t.CPU(a)
	return ok && c.LLC.Has(b)
}

// Hybrid reports whether the machine has cores of different kinds.
func (t *Topology) Hybrid() bool {
	return slices.ContainsFunc(t.CPUs, func(c CPU) bool { return c.Kind != KindUniform })
}

const sysCPU = "sys/devices/system/cpu/"

// Topology reads the machine. Missing details (no cache description, no NUMA,
// no frequency) leave the documented zero values; an error means that the
// machine can't be described at all, or that a file holds nonsense.
//
// Sources: Documentation/ABI/testing/sysfs-devices-system-cpu,
// Documentation/admin-guide/cputopology.rst.
func (h *Host) Topology() (*Topology, error) {
	t := &Topology{}
	var err error
	if t.Online, err = h.cpus(sysCPU + "online"); err != nil {
		return nil, err
	}
	if t.Online.Empty() {
		return nil, fmt.Errorf("%w: /%sonline is missing or empty; mount sysfs", ErrNotSupported, sysCPU)
	}
	if t.Isolated, err = h.cpus(sysCPU + "isolated"); err != nil {
		return nil, err
	}
	if t.NoHzFull, err = h.cpus(sysCPU + "nohz_full"); err != nil {
		return nil, err
	}
	if t.Affinity, err = h.affinity(); err != nil {
		return nil, err
	}
	if t.Cgroup, err = h.Cgroup(); err != nil {
		return nil, err
	}
	t.Isolated = t.Isolated.Or(t.Cgroup.Isolated).And(t.Online)
	t.NoHzFull = t.NoHzFull.And(t.Online)
	t.Usable = usable(t)
	for _, id := range t.Online.List() {
		c, err := h.cpu(id, t)
		if err != nil {
			return nil, err
		}
		t.CPUs = append(t.CPUs, c)
	}
	if err := h.nodes(t); err != nil {
		return nil, err
	}
	return t, h.kinds(t)
}

// affinity reads which CPUs the process was started on.
func (h *Host) affinity() (CPUSet, error) {
	s, err := ParseCPUList(field(h.str("proc/self/status"), "Cpus_allowed_list"))
	if err != nil {
		return CPUSet{}, fmt.Errorf("/proc/self/status: %w", err)
	}
	return s, nil
}

func usable(t *Topology) CPUSet {
	allowed := t.Online
	if !t.Cgroup.Cpuset.Empty() {
		allowed = allowed.And(t.Cgroup.Cpuset)
	}
	affinity := t.Affinity.And(allowed)
	// The kernel gives init, and so everyone, all CPUs but the isolated ones.
	// Who has exactly that was not narrowed, and may pin itself to an
	// isolated CPU without any privilege.
	inherited := allowed.Without(t.Isolated)
	if t.Affinity.Empty() || (!inherited.Empty() && inherited.Subset(affinity)) {
		return allowed
	}
	return affinity
}

// cpu reads one online CPU. Node and kind are found later, from the whole.
func (h *Host) cpu(id int, t *Topology) (CPU, error) {
	dir := sysCPU + "cpu" + strconv.Itoa(id) + "/"
	c := CPU{
		ID:       id,
		Package:  int(h.number(dir+"topology/physical_package_id", 0)),
		MaxKHz:   h.number(dir+"cpufreq/cpuinfo_max_freq", 0),
		Isolated: t.Isolated.Has(id),
		NoHzFull: t.NoHzFull.Has(id),
	}
	// core_cpus_list is the name since Linux 5.3, thread_siblings_list the
	// older one that is still there.
	for _, name := range []string{"core_cpus_list", "thread_siblings_list"} {
		s, err := h.cpus(dir + "topology/" + name)
		if err != nil {
			return CPU{}, err
		}
		if c.Siblings = s.And(t.Online); !c.Siblings.Empty() {
			break
		}
	}
	if !c.Siblings.Has(id) { // not told, or nonsense
		c.Siblings = CPUs(id)
	}
	c.Core = c.Siblings.First()
	return c, h.lastLevelCache(&c, dir+"cache/", t.Online)
}

// maxCaches bounds the caches looked at for one CPU; the kernel has 4 or 5.
const maxCaches = 16

func (h *Host) lastLevelCache(c *CPU, dir string, online CPUSet) error {
	for i := range maxCaches {
		index := dir + "index" + strconv.Itoa(i) + "/"
		level, ok := h.integer(index + "level")
		if !ok {
			return nil
		}
		if int(level) <= c.LLCLevel || h.str(index+"type") == "Instruction" {
			continue
		}
		shared, err := h.cpus(index + "shared_cpu_list")
		if err != nil {
			return err
		}
		if shared = shared.And(online); shared.Has(c.ID) {
			c.LLC, c.LLCLevel, c.LLCSize = shared, int(level), parseSize(h.str(index+"size"))
		}
	}
	return nil
}

// parseSize reads a cache's size, "32768K". 0 for what it can't read.
func parseSize(text string) int64 {
	shift := 0
	switch {
	case strings.HasSuffix(text, "K"):
		shift = 10
	case strings.HasSuffix(text, "M"):
		shift = 20
	}
	n, err := strconv.ParseInt(strings.TrimRight(text, "KM"), 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return n << shift
}

// nodes reads which CPUs belong to which NUMA node. A kernel without NUMA has
// one node, 0.
func (h *Host) nodes(t *Topology) error {
	const dir = "sys/devices/system/node/"
	ids, err := h.cpus(dir + "online") // node numbers, in the same format
	if err != nil {
		return err
	}
	for _, id := range ids.List() {
		cpus, err := h.cpus(dir + "node" + strconv.Itoa(id) + "/cpulist")
		if err != nil {
			return err
		}
		if cpus = cpus.And(t.Online); cpus.Empty() {
			continue // memory only
		}
		t.Nodes = append(t.Nodes, Node{ID: id, CPUs: cpus})
		for i := range t.CPUs {
			if cpus.Has(t.CPUs[i].ID) {
				t.CPUs[i].Node = id
			}
		}
	}
	if len(t.Nodes) == 0 {
		t.Nodes = []Node{{ID: 0, CPUs: t.Online}}
	}
	return nil
}

// kinds tells performance cores from efficiency cores: by the PMU devices
// that x86 hybrids have, else by the scheduler's capacities, else by the
// highest frequencies.
func (h *Host) kinds(t *Topology) error {
	performance, err := h.cpus("sys/devices/cpu_core/cpus")
	if err != nil {
		return err
	}
	if !performance.Empty() {
		for i := range t.CPUs {
			// Beside cpu_atom there is cpu_lowpower: both are efficiency.
			t.CPUs[i].Kind = KindEfficiency
			if performance.Has(t.CPUs[i].ID) {
				t.CPUs[i].Kind = KindPerformance
			}
		}
		return nil
	}
	capacity := make([]int64, len(t.CPUs))
	for i, c := range t.CPUs {
		capacity[i] = h.number(sysCPU+"cpu"+strconv.Itoa(c.ID)+"/cpu_capacity", 0)
	}
	if splitKinds(t.CPUs, capacity) {
		return nil
	}
	for i, c := range t.CPUs {
		capacity[i] = c.MaxKHz
	}
	splitKinds(t.CPUs, capacity)
	return nil
}

// splitKinds sets the kinds by a measure of strength and reports whether the
// cores are unlike. A core counts as an efficiency core below three quarters
// of the strongest: the favoured cores of a uniform chip are only some per
// cent above the others, efficiency cores are at two thirds or less.
func splitKinds(cpus []CPU, strength []int64) bool {
	strongest, weakest := slices.Max(strength), slices.Min(strength)
	if weakest <= 0 || weakest*4 >= strongest*3 {
		return false
	}
	for i := range cpus {
		cpus[i].Kind = KindPerformance
		if strength[i]*4 < strongest*3 {
			cpus[i].Kind = KindEfficiency
		}
	}
	return true
}
