package engine

import (
	"fmt"
	"time"

	"github.com/cell-runtime/cell/metrics"
)

// instruments are an engine's counters in a metrics file. They are brought up
// to date when Stats are, so the cycle itself pays nothing for them.
type instruments struct {
	counters []counterOf
	gauges   []gaugeOf
}

type counterOf struct {
	instrument *metrics.Counter
	value      func(*Stats) uint64
	told       uint64 // of it, to the instrument
}

type gaugeOf struct {
	instrument *metrics.Gauge
	value      func(*Stats) int64
}

var counterTable = []struct {
	name, help string
	value      func(*Stats) uint64
}{
	{"cell_engine_cycles", "Duty cycles.", func(s *Stats) uint64 { return s.Cycles }},
	{"cell_engine_work_cycles", "Duty cycles with at least one vesicle.", func(s *Stats) uint64 { return s.WorkCycles }},
	{"cell_engine_vesicles", "Vesicles handled.", func(s *Stats) uint64 { return s.Vesicles }},
	{"cell_engine_stalls", "Duty cycles above the stall threshold.", func(s *Stats) uint64 { return s.Stalls }},
	{"cell_engine_panics", "Panics contained.", func(s *Stats) uint64 { return s.Panics }},
	{"cell_engine_retries", "Turns ended because a link was full.", func(s *Stats) uint64 { return s.Retries }},
	{"cell_engine_dropped", "Vesicles given up because their peer died.", func(s *Stats) uint64 { return s.Dropped }},
	{"cell_engine_refused", "Requests refused while draining.", func(s *Stats) uint64 { return s.Refused }},
	{"cell_engine_aborted", "Places claimed and not committed in their cycle.", func(s *Stats) uint64 { return s.Aborted }},
	{"cell_engine_commands", "Functions run for other goroutines.", func(s *Stats) uint64 { return s.Commands }},
	{"cell_engine_timers", "Timers that went off.", func(s *Stats) uint64 { return s.Timers }},
	{"cell_engine_parks", "Times that the thread slept.", func(s *Stats) uint64 { return s.Parks }},
	{"cell_engine_yields", "Times that other goroutines were let run.", func(s *Stats) uint64 { return s.Yields }},
	{"cell_engine_gone", "Links that left.", func(s *Stats) uint64 { return s.Gone }},
}

var gaugeTable = []struct {
	name, help, unit string
	value            func(*Stats) int64
}{
	{"cell_engine_longest_cycle", "Longest duty cycle.", "ns", func(s *Stats) int64 { return int64(s.LongestCycle / time.Nanosecond) }},
	{"cell_engine_last_stall", "Length of the last stall.", "ns", func(s *Stats) int64 { return int64(s.LastStall.Length / time.Nanosecond) }},
	{"cell_engine_last_stall_port", "Port that caused the last stall; 0 if none did.", "", func(s *Stats) int64 { return int64(s.LastStall.Port) }},
	{"cell_engine_links", "Links now.", "", func(s *Stats) int64 { return int64(s.Links) }},
	{"cell_engine_hot_links", "Links polled in each cycle.", "", func(s *Stats) int64 { return int64(s.Hot) }},
}

// register makes the instruments under a writer of the engine's own, whose
// name tells engines of one file apart.
func (i *instruments) register(f *metrics.File, engine string) error {
	w, err := f.Writer(engine)
	if err != nil {
		return fmt.Errorf("engine: metrics of %q: %w", engine, err)
	}
	for _, c := range counterTable {
		instrument, err := w.Counter(c.name, c.help, "")
		if err != nil {
			return fmt.Errorf("engine: metrics of %q: %w", engine, err)
		}
		i.counters = append(i.counters, counterOf{instrument: instrument, value: c.value})
	}
	for _, g := range gaugeTable {
		instrument, err := w.Gauge(g.name, g.help, g.unit)
		if err != nil {
			return fmt.Errorf("engine: metrics of %q: %w", engine, err)
		}
		i.gauges = append(i.gauges, gaugeOf{instrument, g.value})
	}
	return nil
}

// tell brings the instruments up to date.
func (i *instruments) tell(s *Stats) {
	for k := range i.counters {
		c := &i.counters[k]
		now := c.value(s)
		c.instrument.Add(now - c.told)
		c.told = now
	}
	for k := range i.gauges {
		i.gauges[k].instrument.Set(i.gauges[k].value(s))
	}
}

// CountVesicles has c count the vesicles that the port's handler is done with.
// The counter belongs to the engine's thread from then on. A metrics file never
// gives a place back, so make counters for links that stay, or one for a class
// of links; [Engine.Ports] has the numbers of all.
func CountVesicles(c *metrics.Counter) AddOption {
	return func(p *Port) { p.counter = c }
}
