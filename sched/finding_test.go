package sched

import (
	"encoding/json"
	"strings"
	"testing"
)

// find returns the finding with an ID.
func find(t *testing.T, findings []Finding, id string) Finding {
	t.Helper()
	for _, f := range findings {
		if f.ID == id {
			return f
		}
	}
	t.Fatalf("no finding %s", id)
	return Finding{}
}

func TestProbe(t *testing.T) {
	const (
		cpu    = "sys/devices/system/cpu/"
		kernel = "proc/sys/kernel/"
	)
	file := func(path, content string) map[string]string { return map[string]string{path: content} }
	for _, c := range []struct {
		name, tree, cpus string
		files            map[string]string
		id               string
		severity         Severity
		says             string // a part of the finding's text
	}{
		{"isolated", "two-socket", "2-3", nil, "cpu.isolation", OK, "2-3 are isolated"},
		{"not isolated where others are", "two-socket", "1,2", nil, "cpu.isolation", Warning, "use the isolated CPUs 2-3"},
		{"nothing isolated", "hybrid-laptop", "2,4", nil, "cpu.isolation", Warning, "isolcpus=2,4"},
		{"all CPUs wanted", "vm", "", nil, "cpu.isolation", Warning, "leave at least one CPU"},
		{"tickless", "two-socket", "2-3", nil, "cpu.nohz_full", OK, "no timer tick"},
		{"ticking", "hybrid-laptop", "2", nil, "cpu.nohz_full", Warning, "nohz_full=2"},
		{"kernel without nohz_full", "vm", "1", nil, "cpu.nohz_full", Info, "CONFIG_NO_HZ_FULL"},
		{"isolated siblings", "two-socket", "2-3", nil, "cpu.smt", Info, "10-11"},
		{"open siblings", "hybrid-laptop", "2,4", nil, "cpu.smt", Warning, "3,5"},
		{"siblings of each other", "two-socket", "2,10", nil, "cpu.smt", Problem, "one CPU of each physical core"},
		{"no siblings", "hybrid-laptop", "8-9", nil, "cpu.smt", OK, ""},
		{"performance", "two-socket", "2-3", nil, "cpu.governor", OK, "intel_pstate"},
		{"powersave", "hybrid-laptop", "2,4", nil, "cpu.governor", Warning, "cpupower -c 2,4"},
		{"mixed governors", "hybrid-laptop", "2,4", file(cpu+"cpu2/cpufreq/scaling_governor", "performance"), "cpu.governor", Warning, "cpupower -c 4"},
		{"no cpufreq", "vm", "1", nil, "cpu.governor", Info, ""},
		{"deep states", "two-socket", "2", nil, "cpu.cstates", Warning, "C6 133 µs"},
		{"a disabled state does not count", "two-socket", "2", file(cpu+"cpu2/cpuidle/state3/disable", "1"), "cpu.cstates", OK, ""},
		{"haltpoll", "vm", "1", nil, "cpu.cstates", OK, "haltpoll"},
		{"no idle driver", "vm", "1", file(cpu+"cpuidle/current_driver", "none"), "cpu.cstates", Info, ""},
		{"all CPUs usable", "two-socket", "2", nil, "limit.cpuset", OK, ""},
		{"cpuset", "container-v2", "2-3", nil, "limit.cpuset", Info, "1-3,5-6 of 0-7"},
		{"outside the cpuset", "container-v2", "0-1", nil, "limit.cpuset", Problem, "CPUs 0 can't be used"},
		{"no quota", "vm", "1", nil, "limit.quota", OK, ""},
		{"quota v2 with room", "container-v2", "2-3", nil, "limit.quota", Warning, "throttled 42 times"},
		{"quota v1 too small", "container-v1", "2-3", nil, "limit.quota", Problem, "1.50"},
		{"quota, nothing chosen", "container-v1", "", nil, "limit.quota", Warning, "1.50"},
		{"an interrupt on the core", "two-socket", "2-3", nil, "irq.affinity", Warning, "IRQ 25 IR-PCI-MSI 1572865-edge eth0-TxRx-0: 90321"},
		{"an interrupt that moved away", "two-socket", "3", nil, "irq.affinity", OK, ""},
		{"interrupts unseen", "container-v2", "2", nil, "irq.affinity", Info, ""},
		{"many interrupts", "vm", "0-1", nil, "irq.affinity", Warning, "more"},
		{"irqbalance and isolated cores", "two-socket", "2-3", nil, "irq.irqbalance", Info, "812"},
		{"irqbalance and open cores", "two-socket", "0-1", nil, "irq.irqbalance", Warning, "IRQBALANCE_BANNED_CPULIST=0-1"},
		{"no irqbalance", "vm", "1", nil, "irq.irqbalance", OK, ""},
		{"throttled real time", "vm", "1", nil, "rt.throttling", Warning, "50 ms in each 1000 ms"},
		{"unlimited real time", "vm", "1", file(kernel+"sched_rt_runtime_us", "-1"), "rt.throttling", OK, ""},
		{"real-time limit unseen", "vm", "1", file(kernel+"sched_rt_runtime_us", "-"), "rt.throttling", Info, ""},
		{"watched", "hybrid-laptop", "2", nil, "host.watchdog", Info, "watchdog_cpumask=0-1,3-11"},
		{"unwatched", "two-socket", "2-3", nil, "host.watchdog", OK, "do not watch"},
		{"watchdog off", "vm", "1", file(kernel+"watchdog", "0"), "host.watchdog", OK, ""},
		{"tsc", "vm", "1", nil, "host.clocksource", OK, ""},
		{"kvm-clock", "container-v2", "2", nil, "host.clocksource", Info, "invariant TSC"},
		{"hpet", "vm", "1", file(clocksourceFile, "hpet"), "host.clocksource", Problem, "tsc=reliable"},
		{"clock source unseen", "vm", "1", file(clocksourceFile, "-"), "host.clocksource", Info, ""},
		{"memlock unlimited", "two-socket", "2", nil, "mem.memlock", OK, "unlimited"},
		{"memlock by capability", "vm", "1", nil, "mem.memlock", OK, "CAP_IPC_LOCK"},
		{"memlock of a container", "container-v2", "2", nil, "mem.memlock", Warning, "only 64 KiB"},
		{"memlock large but finite", "hybrid-laptop", "2", file("proc/self/limits", "Max locked memory  1073741824 1073741824 bytes"), "mem.memlock", Info, "1024 MiB"},
		{"memlock unseen", "hybrid-laptop", "2", file("proc/self/limits", "-"), "mem.memlock", Info, ""},
		{"THP with compaction in faults", "two-socket", "2", nil, "mem.thp", Warning, "defer+madvise"},
		{"THP always", "container-v2", "2", nil, "mem.thp", Info, ""},
		{"THP madvise", "vm", "1", nil, "mem.thp", OK, ""},
		{"no THP", "vm", "1", file("sys/kernel/mm/transparent_hugepage/enabled", "-"), "mem.thp", OK, "no transparent"},
		{"NUMA balancing", "two-socket", "2", nil, "mem.numa_balancing", Warning, "numa_balancing=0"},
		{"NUMA balancing with one node", "vm", "1", file(kernel+"numa_balancing", "1"), "mem.numa_balancing", OK, ""},
		{"swap", "two-socket", "2", nil, "mem.swap", Warning, "/dev/sda2"},
		{"compressed swap", "hybrid-laptop", "2", nil, "mem.swap", Warning, "/dev/zram0"},
		{"no swap", "vm", "1", nil, "mem.swap", OK, ""},
		{"bare metal", "two-socket", "2", nil, "host.hypervisor", OK, ""},
		{"hypervisor by CPU flag", "vm", "1", nil, "host.hypervisor", Warning, "flag hypervisor"},
		{"hypervisor by product name", "two-socket", "2", file("sys/class/dmi/id/product_name", "KVM Virtual Machine"), "host.hypervisor", Warning, "KVM"},
		{"steal", "container-v2", "2-3", nil, "host.steal", Warning, "3.85 %"},
		{"no steal", "two-socket", "2-3", nil, "host.steal", OK, ""},
		{"broken stat", "two-socket", "2", file("proc/stat", "cpu2 a b c d e f g h i j"), "host.steal", Info, "is no number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := with(loadTree(t, c.tree), c.files)
			topo, err := h.Topology()
			if err != nil {
				t.Fatal(err)
			}
			f := find(t, h.Probe(topo, set(t, c.cpus)), c.id)
			if f.Severity != c.severity || !strings.Contains(f.String(), c.says) {
				t.Errorf("want %v, %q:\n%s", c.severity, c.says, f)
			}
		})
	}
}

// TestFindingsAreComplete holds every finding of every machine, the real one
// too, to what a printer relies on.
func TestFindingsAreComplete(t *testing.T) {
	hosts := map[string]*Host{"local": Local()}
	for _, name := range []string{"two-socket", "hybrid-laptop", "container-v2", "container-v1", "vm"} {
		hosts[name] = host(t, name)
	}
	for name, h := range hosts {
		topo, err := h.Topology()
		if err != nil {
			t.Fatal(name, err)
		}
		findings := h.Probe(topo, CPUSet{})
		if len(findings) != len(checks) {
			t.Errorf("%s: %d findings of %d checks", name, len(findings), len(checks))
		}
		seen := map[string]bool{}
		for _, f := range findings {
			if f.ID == "" || f.What == "" || f.Evidence == "" || seen[f.ID] {
				t.Errorf("%s: incomplete or double: %+v", name, f)
			}
			if f.Severity >= Warning && f.Fix == "" {
				t.Errorf("%s: %s is a %s without a fix", name, f.ID, f.Severity)
			}
			if strings.Contains(f.What+f.Evidence+f.Fix, "%!") {
				t.Errorf("%s: bad format: %+v", name, f)
			}
			seen[f.ID] = true
		}
	}
}

func TestWorst(t *testing.T) {
	if Worst(nil) != OK || Worst([]Finding{{Severity: Warning}, {Severity: Info}}) != Warning {
		t.Error("wrong")
	}
}

func TestFindingJSON(t *testing.T) {
	in := Finding{ID: "cpu.smt", Severity: Warning, What: "w", Evidence: "e", Fix: "f"}
	b, err := json.Marshal(in)
	if err != nil || !strings.Contains(string(b), `"severity":"warning"`) {
		t.Fatal(string(b), err)
	}
	var out Finding
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Fatal(out, err)
	}
	if err := json.Unmarshal([]byte(`{"severity":"dire"}`), &out); err == nil {
		t.Fatal("an unknown severity was accepted")
	}
}

func FuzzInterruptLines(f *testing.F) {
	f.Add(string(loadTree(f, "vm")["proc/interrupts"].Data))
	f.Add("CPU0 CPU1\n1: 2 3")
	f.Fuzz(func(t *testing.T, text string) {
		interruptLines(text, CPUs(0, 1))
	})
}
