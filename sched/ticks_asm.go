//go:build amd64 || arm64

package sched

// Ticks reads the CPU's own counter: TSC on amd64, CNTVCT_EL0 on arm64, and
// nanoseconds of [Now] elsewhere or where the counter can't be trusted
// ([Clock] says which and why). Only differences mean anything; convert them
// with [TicksToNanos].
//
// The reading is ordered: every earlier load has its value before the counter
// is read. So a loop that waits for a word to change and then calls Ticks
// measures until the change, not until the processor began to guess at it.
// Earlier stores may still be on their way to other cores, and later
// instructions may start early by a few nanoseconds.
//
// What holds across cores: the counters of all cores run at one rate that does
// not depend on frequency or sleep states, and if a reading on one core
// happens before a reading on another, by any synchronisation, the second is
// not the smaller one by more than a few tens of nanoseconds. The kernel takes
// the counter for its own clock only after it has checked that, and Ticks
// trusts it only then. A virtual machine that is moved to another host may see
// the counter jump or change its rate; for times that must survive that, or a
// suspend, use [Now].
//
// It does not allocate or make a system call. See [Clock] for its cost and
// its step: on common servers the counter advances by 10 ns at a time.
func Ticks() uint64

// TicksRelaxed is [Ticks] without the ordering, for half the cost. The
// processor may read the counter while earlier loads are still waiting for
// another core, so a single short interval can come out too small by as much
// as such a load takes, some 100 ns. Use it for deadlines, and for intervals
// that are long or only ever summed up.
func TicksRelaxed() uint64

// monotonicTicks stands in for a counter that can't be trusted: one tick a
// nanosecond.
//
//lint:ignore U1000 the assembly of Ticks and TicksRelaxed jumps here
func monotonicTicks() uint64 { return uint64(Now()) }
