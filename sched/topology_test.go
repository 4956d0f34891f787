package sched

import (
	"errors"
	"testing"
)

func TestTopology(t *testing.T) {
	for _, c := range []struct {
		tree                       string
		cpus, nodes                int
		usable, isolated, nohzFull string
		hybrid                     bool
		cpu                        int // of which the following holds
		core, pkg, node            int
		siblings, llc              string
		llcSize                    int64
		kind                       CoreKind
	}{
		{tree: "two-socket", cpus: 16, nodes: 2, usable: "0-15", isolated: "2-3,6-7,10-11,14-15", nohzFull: "2-3,6-7,10-11,14-15",
			cpu: 14, core: 6, pkg: 1, node: 1, siblings: "6,14", llc: "4-7,12-15", llcSize: 33792 << 10},
		{tree: "hybrid-laptop", cpus: 12, nodes: 1, usable: "0-11", hybrid: true,
			cpu: 9, core: 9, siblings: "9", llc: "0-11", llcSize: 24 << 20, kind: KindEfficiency},
		{tree: "container-v2", cpus: 8, nodes: 1, usable: "1-3,5-6",
			cpu: 6, core: 2, siblings: "2,6", llc: "2-3,6-7", llcSize: 16 << 20},
		{tree: "container-v1", cpus: 8, nodes: 1, usable: "1-3,5-6",
			cpu: 1, core: 1, siblings: "1,5", llc: "0-1,4-5", llcSize: 16 << 20},
		{tree: "vm", cpus: 2, nodes: 1, usable: "0-1",
			cpu: 1, core: 1, siblings: "1", llc: "0-1", llcSize: 32 << 20},
	} {
		t.Run(c.tree, func(t *testing.T) {
			topo := topology(t, c.tree)
			if len(topo.CPUs) != c.cpus || len(topo.Nodes) != c.nodes || topo.Hybrid() != c.hybrid {
				t.Errorf("%d CPUs, %d nodes, hybrid %v", len(topo.CPUs), len(topo.Nodes), topo.Hybrid())
			}
			if topo.Usable.String() != c.usable || topo.Isolated.String() != c.isolated || topo.NoHzFull.String() != c.nohzFull {
				t.Errorf("usable %q, isolated %q, nohz_full %q", topo.Usable, topo.Isolated, topo.NoHzFull)
			}
			cpu, ok := topo.CPU(c.cpu)
			if !ok || cpu.Core != c.core || cpu.Package != c.pkg || cpu.Node != c.node || cpu.Kind != c.kind {
				t.Errorf("CPU %d: %+v", c.cpu, cpu)
			}
			if cpu.Siblings.String() != c.siblings || cpu.LLC.String() != c.llc || cpu.LLCLevel != 3 || cpu.LLCSize != c.llcSize {
				t.Errorf("CPU %d: siblings %q, LLC %q, level %d, %d bytes", c.cpu, cpu.Siblings, cpu.LLC, cpu.LLCLevel, cpu.LLCSize)
			}
			if _, ok := topo.CPU(4000); ok {
				t.Error("a CPU that does not exist was found")
			}
		})
	}
}

func TestUsableFollowsAffinity(t *testing.T) {
	for _, c := range []struct{ name, affinity, want string }{
		{"as the kernel hands it down, without the isolated CPUs", "0-1,4-5,8-9,12-13", "0-15"},
		{"widened to all", "0-15", "0-15"},
		{"narrowed on purpose", "0-1", "0-1"},
		{"put on isolated CPUs on purpose", "2-3", "2-3"},
		{"unknown", "", "0-15"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := with(loadTree(t, "two-socket"), map[string]string{"proc/self/status": "Cpus_allowed_list:\t" + c.affinity})
			topo, err := h.Topology()
			if err != nil || topo.Usable.String() != c.want {
				t.Errorf("usable %v, %v; want %s", topo.Usable, err, c.want)
			}
		})
	}
}

func TestCoreKindsWithoutHybridDevices(t *testing.T) {
	const cpu = "sys/devices/system/cpu/cpu"
	for _, c := range []struct {
		name  string
		files map[string]string
		kind0 CoreKind
		kind1 CoreKind
	}{
		{"capacities of big and LITTLE", map[string]string{cpu + "0/cpu_capacity": "406", cpu + "1/cpu_capacity": "1024"}, KindEfficiency, KindPerformance},
		{"equal capacities", nil, KindUniform, KindUniform},
		{"favoured core of a uniform chip", map[string]string{
			cpu + "0/cpufreq/cpuinfo_max_freq": "5000000", cpu + "1/cpufreq/cpuinfo_max_freq": "5700000"}, KindUniform, KindUniform},
		{"frequencies far apart", map[string]string{
			cpu + "0/cpufreq/cpuinfo_max_freq": "5100000", cpu + "1/cpufreq/cpuinfo_max_freq": "3300000"}, KindPerformance, KindEfficiency},
		{"capacity of one missing", map[string]string{cpu + "0/cpu_capacity": "-"}, KindUniform, KindUniform},
	} {
		t.Run(c.name, func(t *testing.T) {
			topo, err := with(loadTree(t, "vm"), c.files).Topology()
			if err != nil {
				t.Fatal(err)
			}
			if topo.CPUs[0].Kind != c.kind0 || topo.CPUs[1].Kind != c.kind1 {
				t.Errorf("%v and %v", topo.CPUs[0].Kind, topo.CPUs[1].Kind)
			}
		})
	}
}

func TestTopologyOfOddMachines(t *testing.T) {
	const cpu = "sys/devices/system/cpu/"
	for _, c := range []struct {
		name  string
		files map[string]string
		err   error
	}{
		{"no sysfs", map[string]string{cpu + "online": "-"}, ErrNotSupported},
		{"nonsense in a list", map[string]string{cpu + "isolated": "all of them"}, ErrSyntax},
		{"nonsense in the affinity", map[string]string{"proc/self/status": "Cpus_allowed_list: 3-1"}, ErrSyntax},
		{"no cache description", map[string]string{cpu + "cpu0/cache/index0/level": "-", cpu + "cpu1/cache/index0/level": "-"}, nil},
		{"no NUMA", map[string]string{"sys/devices/system/node/online": "-"}, nil},
		{"no proc", map[string]string{"proc/self/status": "-", "proc/self/cgroup": "-", "proc/self/mountinfo": "-"}, nil},
		{"isolated CPU that is offline", map[string]string{cpu + "isolated": "7"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			topo, err := with(loadTree(t, "vm"), c.files).Topology()
			if !errors.Is(err, c.err) {
				t.Fatal(err)
			}
			if err == nil && (topo.Usable.String() != "0-1" || len(topo.Nodes) != 1 || !topo.Isolated.Empty()) {
				t.Errorf("%+v", topo)
			}
		})
	}
}

func TestCgroup(t *testing.T) {
	for _, c := range []struct {
		name, tree             string
		files                  map[string]string
		cpuset, cpusetDir      string
		quota                  float64
		quotaDir, isolatedCPUs string
	}{
		{name: "v2, the tightest group above wins", tree: "container-v2", cpuset: "1-3,5-6", quota: 2.5,
			cpusetDir: "/sys/fs/cgroup/kubepods.slice/kubepods-pod12.slice/cri-34.scope",
			quotaDir:  "/sys/fs/cgroup/kubepods.slice/kubepods-pod12.slice"},
		{name: "v2 in a namespace, group outside of the mount", tree: "container-v2",
			files:  map[string]string{"proc/self/cgroup": "0::/../other", "sys/fs/cgroup/cpu.max": "50000 100000", "sys/fs/cgroup/cpuset.cpus.effective": "2"},
			cpuset: "2", cpusetDir: "/sys/fs/cgroup", quota: 0.5, quotaDir: "/sys/fs/cgroup"},
		{name: "v2 isolated partition", tree: "container-v2", files: map[string]string{"sys/fs/cgroup/cpuset.cpus.isolated": "5-6"},
			cpuset: "1-3,5-6", quota: 2.5, isolatedCPUs: "5-6",
			cpusetDir: "/sys/fs/cgroup/kubepods.slice/kubepods-pod12.slice/cri-34.scope",
			quotaDir:  "/sys/fs/cgroup/kubepods.slice/kubepods-pod12.slice"},
		{name: "v1, group mounted as the root", tree: "container-v1", cpuset: "1-3,5-6", quota: 1.5,
			cpusetDir: "/sys/fs/cgroup/cpuset", quotaDir: "/sys/fs/cgroup/cpu,cpuacct"},
		{name: "v1, no effective file", tree: "container-v1", files: map[string]string{"sys/fs/cgroup/cpuset/cpuset.effective_cpus": "-"},
			cpuset: "1-3,5-6", quota: 1.5, cpusetDir: "/sys/fs/cgroup/cpuset", quotaDir: "/sys/fs/cgroup/cpu,cpuacct"},
		{name: "hybrid without limits", tree: "vm", cpuset: "0-1", cpusetDir: "/sys/fs/cgroup/cpuset"},
		{name: "cpuset not enabled", tree: "hybrid-laptop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, err := with(loadTree(t, c.tree), c.files).Cgroup()
			if err != nil {
				t.Fatal(err)
			}
			if g.Cpuset.String() != c.cpuset || g.CpusetDir != c.cpusetDir || g.Quota != c.quota || g.QuotaDir != c.quotaDir || g.Isolated.String() != c.isolatedCPUs {
				t.Errorf("%+v", g)
			}
		})
	}
}

// TestLocalTopology holds the real machine to what must be true of any.
func TestLocalTopology(t *testing.T) {
	topo, err := Local().Topology()
	if err != nil {
		t.Fatal(err)
	}
	if topo.Usable.Empty() || !topo.Usable.Subset(topo.Online) || len(topo.CPUs) != topo.Online.Len() {
		t.Errorf("%+v", topo)
	}
	for _, c := range topo.CPUs {
		if !c.Siblings.Has(c.ID) || c.Core != c.Siblings.First() {
			t.Errorf("%+v", c)
		}
	}
}

func FuzzCgroup(f *testing.F) {
	tree := loadTree(f, "container-v1")
	f.Add(string(tree["proc/self/mountinfo"].Data), string(tree["proc/self/cgroup"].Data), "max 100000")
	tree = loadTree(f, "container-v2")
	f.Add(string(tree["proc/self/mountinfo"].Data), string(tree["proc/self/cgroup"].Data), "250000 100000")
	f.Fuzz(func(t *testing.T, mountinfo, membership, limit string) {
		g, err := with(loadTree(t, "container-v2"), map[string]string{
			"proc/self/mountinfo": mountinfo, "proc/self/cgroup": membership, "sys/fs/cgroup/cpu.max": limit,
		}).Cgroup()
		if err == nil && g.Quota < 0 {
			t.Fatalf("%+v", g)
		}
	})
}
