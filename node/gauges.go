package node

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cell-runtime/cell/metrics"
)

// gauges are what the node's metrics file says of one cell. They are written
// under a lock: their writers are several goroutines, and none is in a hurry.
type gauges struct {
	mu                                          sync.Mutex
	state, up, restarts, cpu, memory, processes *metrics.Gauge
	callers, versions                           *metrics.Gauge
	answered                                    *metrics.Histogram
}

func newGauges(f *metrics.File, cell string) (*gauges, error) {
	g := &gauges{}
	label := metrics.L("cell", cell)
	var errs []error
	for _, m := range []struct {
		to               **metrics.Gauge
		name, help, unit string
	}{
		{&g.state, "cell_node_state", "0 asleep, 1 starting, 2 ready, 3 draining, 4 waiting to be started again, 5 failed.", ""},
		{&g.up, "cell_node_up", "How long its oldest process has run.", "ns"},
		{&g.restarts, "cell_node_restarts", "Restarts by policy.", ""},
		{&g.cpu, "cell_node_cpu", "CPU time of the processes that run.", "ns"},
		{&g.memory, "cell_node_memory", "Memory of the processes that run.", "bytes"},
		{&g.processes, "cell_node_processes", "Processes that run.", ""},
		{&g.callers, "cell_node_callers", "Connections of callers.", ""},
		{&g.versions, "cell_node_versions", "Versions that can be called.", ""},
	} {
		var err error
		*m.to, err = f.Gauge(m.name, m.help, m.unit, label)
		errs = append(errs, err)
	}
	var err error
	g.answered, err = f.Histogram("cell_node_health", "How long it took to answer whether it serves.", "ns", metrics.HistogramOptions{Digits: 1, Highest: int64(time.Minute)}, label)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil && !errors.Is(err, metrics.ErrDuplicate) {
		return nil, err
	} else if err != nil {
		return anonymousGauges(cell) // it was there before; its place is never given back
	}
	return g, nil
}

// anonymousGauges are those of a cell that comes back after it was gone from
// the configuration: a metrics file gives no place back, so they are not shown.
func anonymousGauges(cell string) (*gauges, error) {
	f, err := metrics.Anonymous(metrics.Options{Size: 256 << 10, Instruments: 16})
	if err != nil {
		return nil, err
	}
	return newGauges(f, cell)
}

func (g *gauges) health(took time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answered.Record(int64(took))
}

// update shows what a cell does now.
func (g *gauges) update(c *cell) {
	s := c.state()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state.Set(int64(slices.Index(stateNumbers, s.State)))
	var cpu, memory, oldest int64
	for _, i := range s.Instances {
		cpu += i.CPU
		memory += i.Memory
		if oldest == 0 || i.Since < oldest {
			oldest = i.Since
		}
	}
	up := int64(0)
	if oldest != 0 {
		up = time.Now().UnixNano() - oldest
	}
	g.up.Set(up)
	g.cpu.Set(cpu)
	g.memory.Set(memory)
	g.restarts.Set(int64(s.Restarts))
	g.processes.Set(int64(len(s.Instances)))
	g.callers.Set(int64(s.Callers))
	g.versions.Set(int64(s.Versions))
}
