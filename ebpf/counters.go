package ebpf

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// sumCounters adds up the first len(sums) entries of a per-CPU array.
func sumCounters(m *ebpf.Map, sums []uint64) error {
	var each []uint64
	for i := range sums {
		if err := m.Lookup(uint32(i), &each); err != nil {
			return fmt.Errorf("ebpf: reading counters: %w", err)
		}
		sums[i] = 0
		for _, n := range each {
			sums[i] += n
		}
	}
	return nil
}
