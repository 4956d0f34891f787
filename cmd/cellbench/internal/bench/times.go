package bench

import "github.com/cell-runtime/cell/cmd/cellbench/internal/report"

// Times collects single times, for measurements outside of this package.
type Times struct{ recorder *recorder }

// NewTimes returns an empty one.
func NewTimes() *Times { return &Times{newRecorder()} }

// Ticks adds a time in ticks of the processor's counter; it does not allocate.
func (t *Times) Ticks(n uint64) { t.recorder.ticks(n) }

// Distribution returns what was collected, in nanoseconds.
func (t *Times) Distribution() report.Distribution { return t.recorder.times() }
