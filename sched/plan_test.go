package sched

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestNewPlan(t *testing.T) {
	for _, c := range []struct {
		name, tree    string
		req           Request
		engines       []int
		control, idle string
		says          []string // parts of the plan's text
		silent        []string // parts that must not be in it
	}{
		{name: "a ring's pair takes isolated cores of one socket", tree: "two-socket", req: RingPair(),
			engines: []int{2, 3}, control: "0-1,4-5,8-9,12-13", idle: "10-11",
			says: []string{"isolated, no timer tick", "NUMA node 0", "share one last-level cache"}, silent: []string{"warning"}},
		{name: "near a device on the second socket", tree: "two-socket", req: Request{Engines: 2, Control: 1, Near: CPUs(4, 5, 6, 7, 12, 13, 14, 15)},
			engines: []int{6, 7}, control: "0-1,4-5,8-9,12-13", idle: "14-15", says: []string{"near what was asked for"}},
		{name: "a second plan beside the first", tree: "two-socket", req: Request{Engines: 2, ShareLLC: true, Exclude: CPUs(2, 3)},
			engines: []int{6, 7}, control: "0-1,4-5,8-9,12-13", idle: "14-15"},
		{name: "isolation outweighs a shared cache", tree: "two-socket", req: Request{Engines: 3, Control: 1},
			engines: []int{2, 3, 6}, control: "0-1,4-5,8-9,12-13", idle: "10-11,14", says: []string{"warning: the engines do not share a last-level cache"}},
		{name: "unless the cache is demanded", tree: "two-socket", req: Request{Engines: 3, Control: 1, ShareLLC: true},
			engines: []int{2, 3, 1}, control: "0,4-5,8,12-13", idle: "9-11", says: []string{"warning: CPU 1 is not isolated"}},
		{name: "siblings last even when allowed, on the socket without CPU 0", tree: "two-socket", req: Request{Engines: 5, ShareLLC: true, AllowSiblings: true},
			engines: []int{6, 7, 4, 5, 14}, control: "0-1,8-9", idle: "12-13,15", says: []string{"CPU 14 is an SMT sibling of CPU 6"}},
		{name: "performance cores with the highest turbo, not core 0", tree: "hybrid-laptop", req: RingPair(),
			engines: []int{2, 4}, control: "0-1,6-11", idle: "3,5", says: []string{"performance core"}, silent: []string{"warning"}},
		{name: "core 0 before an efficiency core", tree: "hybrid-laptop", req: Request{Engines: 4, Control: 2},
			engines: []int{2, 4, 6, 0}, control: "8-11", idle: "1,3,5,7", says: []string{"on the core of CPU 0"}, silent: []string{"efficiency"}},
		{name: "efficiency cores when nothing else is left", tree: "hybrid-laptop", req: Request{Engines: 5, Control: 1},
			engines: []int{2, 4, 6, 0, 8}, control: "9-11", idle: "1,3,5,7", says: []string{"warning: CPU 8 is an efficiency core"}},
		{name: "within the cpuset, on one cache", tree: "container-v2", req: RingPair(),
			engines: []int{2, 3}, control: "1,5", idle: "6-7", silent: []string{"warning"}},
		{name: "parking engines above the quota are only warned about", tree: "container-v1", req: Request{Engines: 2},
			engines: []int{2, 3}, control: "1,5", idle: "6-7", says: []string{"warning: the CPU quota", "1.50"}},
		{name: "control takes siblings when it must", tree: "container-v2", req: Request{Engines: 3, Control: 2},
			engines: []int{1, 2, 3}, control: "5-6", idle: "7", says: []string{"SMT siblings of engines (5-6)"}},
		{name: "one engine leaves CPU 0 to the rest", tree: "vm", req: Request{Engines: 1, Control: 1, Spin: true},
			engines: []int{1}, control: "0", silent: []string{"warning"}},
		{name: "both CPUs of a small machine", tree: "vm", req: RingPair(),
			engines: []int{1, 0}, says: []string{"warning: no CPU is left for the control plane"}},
		{name: "named CPUs keep their order", tree: "vm", req: Request{CPUs: []int{0, 1}, ShareLLC: true},
			engines: []int{0, 1}, says: []string{"named in the request", "on the core of CPU 0"}},
		{name: "named siblings are allowed with a warning", tree: "two-socket", req: Request{CPUs: []int{2, 10}},
			engines: []int{2, 10}, control: "0-1,4-5,8-9,12-13", says: []string{"CPU 10 is an SMT sibling of CPU 2"}},
		{name: "named CPUs of two sockets", tree: "two-socket", req: Request{CPUs: []int{2, 6}},
			engines: []int{2, 6}, control: "0-1,4-5,8-9,12-13", idle: "10,14", says: []string{"are in several packages"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := NewPlan(topology(t, c.tree), c.req)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(p.CPUs(), c.engines) || p.Control.String() != c.control || p.Idle.String() != c.idle {
				t.Errorf("engines %v, control %q, idle %q\n%s", p.CPUs(), p.Control, p.Idle, p)
			}
			for _, e := range p.Engines {
				if len(e.Why) == 0 {
					t.Errorf("CPU %d without a reason", e.CPU)
				}
			}
			for _, part := range c.says {
				if !strings.Contains(p.String(), part) {
					t.Errorf("does not say %q:\n%s", part, p)
				}
			}
			for _, part := range c.silent {
				if strings.Contains(p.String(), part) {
					t.Errorf("says %q:\n%s", part, p)
				}
			}
		})
	}
}

func TestNewPlanRefuses(t *testing.T) {
	const cpu = "sys/devices/system/cpu/"
	noCaches := map[string]string{cpu + "cpu0/cache/index0/level": "-", cpu + "cpu1/cache/index0/level": "-"}
	for _, c := range []struct {
		name, tree string
		files      map[string]string
		req        Request
		err        error
		says       []string
	}{
		{name: "no engine", tree: "vm", req: Request{}, says: []string{"at least one engine"}},
		{name: "negative control", tree: "vm", req: Request{Engines: 1, Control: -1}, says: []string{"-1 control"}},
		{name: "more engines than CPUs", tree: "vm", req: Request{Engines: 3}, says: []string{"only 2 can be used", "2 CPUs online"}},
		{name: "more engines than the cpuset has", tree: "container-v2", req: Request{Engines: 6},
			says: []string{"only 5 can be used", "cpuset-cpus"}},
		{name: "more engines than physical cores", tree: "container-v2", req: Request{Engines: 4}, says: []string{"are on 3", "allow SMT siblings"}},
		{name: "no cache that large", tree: "container-v2", req: Request{Engines: 3, ShareLLC: true}, says: []string{"share a last-level cache", "give up the demand"}},
		{name: "caches unknown", tree: "vm", files: noCaches, req: RingPair(), err: ErrNotSupported, says: []string{"does not tell", "name the CPUs"}},
		{name: "spinning above the quota", tree: "container-v1", req: RingPair(), says: []string{"1.50", "cpu.max", "let them park"}},
		{name: "nothing left for control", tree: "vm", req: Request{Engines: 2, Control: 1}, says: []string{"control plane needs 1", "only 0 are left"}},
		{name: "only siblings of excluded cores", tree: "hybrid-laptop", req: Request{Engines: 1, Exclude: CPUs(0, 2, 4, 6, 8, 9, 10, 11)},
			says: []string{"no 1 free physical cores"}},
		{name: "named CPU offline", tree: "vm", req: Request{CPUs: []int{5}}, err: ErrCPU, says: []string{"CPU 5 is not online"}},
		{name: "named CPU outside the cpuset", tree: "container-v1", req: Request{CPUs: []int{0}}, err: ErrCPU, says: []string{"1-3,5-6", "--cpuset-cpus"}},
		{name: "named CPU outside the affinity", tree: "vm", files: map[string]string{"proc/self/status": "Cpus_allowed_list: 0"},
			req: Request{CPUs: []int{1}}, err: ErrCPU, says: []string{"taskset"}},
		{name: "named CPU excluded", tree: "vm", req: Request{CPUs: []int{1}, Exclude: CPUs(1)}, err: ErrCPU, says: []string{"both named and excluded"}},
		{name: "named twice", tree: "vm", req: Request{CPUs: []int{1, 1}}, says: []string{"named twice"}},
		{name: "fewer named than engines", tree: "vm", req: Request{Engines: 2, CPUs: []int{1}}, says: []string{"1 CPUs were named for 2 engines"}},
		{name: "named CPUs without the demanded cache", tree: "two-socket", req: Request{CPUs: []int{2, 6}, ShareLLC: true}, says: []string{"do not share"}},
		{name: "affinity and cpuset that exclude each other", tree: "container-v1", files: map[string]string{"proc/self/status": "Cpus_allowed_list: 0"},
			req: Request{Engines: 1}, says: []string{"only 0 can be used (none)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			topo, err := with(loadTree(t, c.tree), c.files).Topology()
			if err != nil {
				t.Fatal(err)
			}
			p, err := NewPlan(topo, c.req)
			if !errors.Is(err, ErrNoPlan) || (c.err != nil && !errors.Is(err, c.err)) {
				t.Fatalf("%v\n%v", err, p)
			}
			for _, part := range c.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("does not say %q: %v", part, err)
				}
			}
		})
	}
}
