package node

import (
	"errors"
	"slices"
	"testing"

	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/sched"
)

// eightCPUs is a host of eight CPUs that share a cache.
func eightCPUs() *sched.Topology {
	t := &sched.Topology{}
	for id := range 8 {
		t.CPUs = append(t.CPUs, sched.CPU{ID: id, Core: id, Siblings: sched.CPUs(id), LLC: sched.CPUs(0, 1, 2, 3, 4, 5, 6, 7)})
	}
	t.Online = sched.CPUs(0, 1, 2, 3, 4, 5, 6, 7)
	t.Usable = t.Online
	return t
}

func TestTheCoresOfAConfiguration(t *testing.T) {
	cells := func(all ...config.Cell) map[string]config.Cell {
		m := map[string]config.Cell{}
		for i, c := range all {
			c.Instances = max(c.Instances, 1)
			m[string(rune('a'+i))] = c
		}
		return m
	}
	for _, c := range []struct {
		name    string
		cells   map[string]config.Cell
		engine  int
		own     int
		without sched.CPUSet // that nobody gets for himself
		want    error
	}{
		{name: "nobody asks", cells: cells(config.Cell{}), engine: -1},
		{name: "one core", cells: cells(config.Cell{Cores: 1}, config.Cell{}), engine: -1, own: 1},
		{name: "each instance has its own", cells: cells(config.Cell{Cores: 2, Instances: 3}), engine: -1, own: 6},
		{name: "not the core of the node's engine", cells: cells(config.Cell{Cores: 6}), engine: 3, own: 6, without: sched.CPUs(3)},
		{name: "not those that are named", cells: cells(config.Cell{Cores: 3}, config.Cell{Limits: config.Limits{CPUSet: "4-6"}}), engine: -1, own: 3, without: sched.CPUs(4, 5, 6)},
		{name: "more than there are", cells: cells(config.Cell{Cores: 9}), engine: -1, want: config.ErrConfig},
		{name: "none is left for the others", cells: cells(config.Cell{Cores: 8}), engine: -1, want: config.ErrConfig},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := CorePlan(config.Config{Engine: config.Engine{CPU: c.engine}, Cells: c.cells}, eightCPUs())
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err != nil {
				return
			}
			own := sched.CPUs(p.CPUs()...)
			if own.Len() != c.own || !own.And(c.without).Empty() || !own.And(p.Control).Empty() {
				t.Errorf("%v, the others %v", own, p.Control)
			}
		})
	}
}

func TestCoresAreSharedAsLateAsPossible(t *testing.T) {
	o := &cores{rest: sched.CPUs(0), users: map[int]int{1: 0, 2: 0, 3: 0}}
	take := func(n int, want ...int) []int {
		t.Helper()
		own, set, err := o.take(n)
		if err != nil || !slices.Equal(own, want) {
			t.Errorf("%v (%v), want %v", own, err, want)
		}
		if n == 0 && !slices.Equal(set.List(), []int{0}) || n > 0 && set.Has(0) {
			t.Errorf("%d cores: %v", n, set)
		}
		return own
	}
	take(0)
	first := take(2, 1, 2)
	take(1, 3)
	o.give(first)
	take(2, 1, 2)
	take(2, 1, 2) // all have one process by now
	take(1, 3)
	if _, _, err := o.take(4); !errors.Is(err, config.ErrConfig) {
		t.Errorf("more than were planned: %v", err)
	}
}
