package node

import (
	"fmt"
	"slices"
	"sync"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/sched"
)

// CorePlan chooses the cores that processes of cells get for themselves, by
// Cell.Cores: as many as all instances need. The zero Plan is of a configuration in
// which no cell asks for any. Errors: those of [sched.NewPlan].
func CorePlan(c config.Config, t *sched.Topology) (sched.Plan, error) {
	r := sched.Request{Control: 1}
	for _, cell := range c.Cells {
		r.Engines += cell.Cores * cell.Instances
	}
	if r.Engines == 0 {
		return sched.Plan{}, nil
	}
	if c.Engine.CPU >= 0 {
		r.Exclude = sched.CPUs(c.Engine.CPU)
	}
	for _, cell := range c.Cells { // what somebody has chosen by hand
		if set, err := sched.ParseCPUList(cell.Limits.CPUSet); err == nil {
			r.Exclude = r.Exclude.Or(set)
		}
	}
	p, err := sched.NewPlan(t, r)
	if err != nil {
		return p, fmt.Errorf("%w: cells.….cores: %w", config.ErrConfig, err)
	}
	if p.Control.Empty() {
		return p, fmt.Errorf("%w: cells.….cores: %d cores are asked for, which leaves none for everything else; ask for fewer", config.ErrConfig, r.Engines)
	}
	return p, nil
}

// cores gives processes the planned cores, and keeps all others off those.
type cores struct {
	rest     sched.CPUSet // for processes that have none of their own; empty is all
	warnings []string     // of the plan

	mu    sync.Mutex
	users map[int]int // planned core: how many processes have it
}

// planCores plans for the configuration of the node's start.
func planCores(c config.Config) (*cores, error) {
	if !slices.ContainsFunc(cellsOf(c), func(c config.Cell) bool { return c.Cores > 0 }) {
		return &cores{}, nil // without a look at the host, which may not tell
	}
	t, err := sched.Local().Topology()
	if err != nil {
		return nil, err
	}
	p, err := CorePlan(c, t)
	if err != nil {
		return nil, err
	}
	o := &cores{rest: p.Control, warnings: p.Warnings, users: map[int]int{}}
	for _, cpu := range p.CPUs() {
		o.users[cpu] = 0
	}
	return o, nil
}

func cellsOf(c config.Config) (all []config.Cell) {
	for _, cell := range c.Cells {
		all = append(all, cell)
	}
	return all
}

// take returns the CPUs of a process that asks for n cores, those first which the
// fewest have: while a version replaces another they share. Where it asks for none it
// gets what is left.
func (o *cores) take(n int) (own []int, set sched.CPUSet, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n == 0 {
		return nil, o.rest, nil
	}
	if n > len(o.users) {
		return nil, set, fmt.Errorf("%w: it asks for %d cores, and at its start the node has planned %d; restart the node", config.ErrConfig, n, len(o.users))
	}
	for cpu := range o.users {
		own = append(own, cpu)
	}
	slices.SortFunc(own, func(a, b int) int {
		if d := o.users[a] - o.users[b]; d != 0 {
			return d
		}
		return a - b
	})
	own = own[:n]
	for _, cpu := range own {
		o.users[cpu]++
	}
	return own, sched.CPUs(own...), nil
}

// place says on which CPUs a process may run, where its configuration does not.
func (c *cell) place(i *instance, spec *capsid.Spec) error {
	if spec.Limits.CPUSet != "" {
		return nil
	}
	own, set, err := c.node.cores.take(i.version.config.Cores)
	if err != nil || set.Empty() {
		return err
	}
	if i.cores, spec.Limits.CPUSet = own, set.String(); len(own) > 0 {
		c.say("%v has CPU %v for itself", i, set)
	}
	return nil
}

// give takes cores back.
func (o *cores) give(own []int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, cpu := range own {
		o.users[cpu]--
	}
}
