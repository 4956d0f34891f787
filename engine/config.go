package engine

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/cell-runtime/cell/metrics"
)

// Unpinned as [Config.CPU] leaves the choice of core to the kernel.
const Unpinned = -1

// Idle says what an engine does in a cycle that found no work.
type Idle uint8

// The idle strategies.
const (
	// IdleAdaptive spins up to Config.SpinFor after the last work and then
	// parks. The time it spins shrinks while spinning never helps and grows
	// when work arrives soon after parking. The default.
	IdleAdaptive Idle = iota
	// IdleSpin never sleeps: the least latency, and it burns a whole core.
	IdleSpin
	// IdleYield calls sched_yield(2) in each empty cycle: other threads of
	// the core run first, yet an idle core is still burnt. It is the kernel's
	// yield, not runtime.Gosched: that costs 10 to 15 µs for a goroutine that
	// is locked to its thread, and it yields to goroutines only.
	IdleYield
	// IdlePark sleeps in epoll_wait(2) at once. A wake-up costs what the
	// host's scheduler takes, some 5 to 60 µs.
	IdlePark
)

var idleNames = [...]string{"adaptive", "spin", "yield", "park"}

// String returns the strategy's name as ParseIdle takes it.
func (i Idle) String() string {
	if int(i) < len(idleNames) {
		return idleNames[i]
	}
	return fmt.Sprintf("Idle(%d)", uint8(i))
}

// ParseIdle returns the strategy of that name: adaptive, spin, yield or park.
func ParseIdle(name string) (Idle, error) {
	for i, n := range idleNames {
		if n == name {
			return Idle(i), nil
		}
	}
	return 0, fmt.Errorf("%w: idle strategy %q; use one of %q", ErrConfig, name, idleNames)
}

// burns reports whether the strategy keeps a core busy without work.
func (i Idle) burns() bool { return i == IdleSpin || i == IdleYield }

// Defaults and bounds of [Config].
const (
	DefaultBatch          = 32
	DefaultSpinFor        = 50 * time.Microsecond // what a wake-up costs: spinning longer loses more than it wins
	DefaultStallThreshold = 100 * time.Microsecond
	DefaultMaxLinks       = 4096
	DefaultCommands       = 256

	maxBatch    = 4096
	maxSpinFor  = time.Second
	maxMaxLinks = 1 << 20
	maxCommands = 1 << 16
)

// Config describes an engine. The zero value of every field but CPU means its
// default.
type Config struct {
	// Name appears in logs, errors and metrics. Default "engine".
	Name string
	// CPU is the core to pin the thread to, or Unpinned. The zero value is
	// core 0.
	CPU int
	// Idle is the idle strategy.
	Idle Idle
	// SpinFor bounds how long IdleAdaptive spins before it parks.
	SpinFor time.Duration
	// Batch is the most vesicles that one link gets handled before the next
	// link has its turn, 1 to 4096. It bounds what a flooding link can take.
	Batch int
	// StallThreshold: a cycle that took longer counts as a stall.
	StallThreshold time.Duration
	// MaxLinks bounds how many links the engine takes.
	MaxLinks int
	// Commands bounds how many calls of Add, Remove, Do and Post may wait for
	// the thread.
	Commands int
	// Logger receives what people must know: a core being burnt, panics of
	// handlers. nil is silent. It is called on the engine's thread, at most
	// about once a second.
	Logger *slog.Logger
	// Metrics, if set, shows the counters of Stats to other processes, under
	// a writer of the engine's name.
	Metrics *metrics.File
}

func (c *Config) setDefaults() error {
	if c.Name == "" {
		c.Name = "engine"
	}
	if c.CPU < Unpinned {
		return fmt.Errorf("%w: CPU %d; use a core's number or engine.Unpinned (-1)", ErrConfig, c.CPU)
	}
	if int(c.Idle) >= len(idleNames) {
		return fmt.Errorf("%w: Idle %d is no strategy", ErrConfig, c.Idle)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := setDuration("SpinFor", &c.SpinFor, DefaultSpinFor, maxSpinFor); err != nil {
		return err
	}
	if err := setDuration("StallThreshold", &c.StallThreshold, DefaultStallThreshold, time.Hour); err != nil {
		return err
	}
	if err := setCount("Batch", &c.Batch, DefaultBatch, maxBatch); err != nil {
		return err
	}
	if err := setCount("MaxLinks", &c.MaxLinks, DefaultMaxLinks, maxMaxLinks); err != nil {
		return err
	}
	return setCount("Commands", &c.Commands, DefaultCommands, maxCommands)
}

func setCount(name string, v *int, def, most int) error {
	if *v == 0 {
		*v = def
	}
	if *v < 1 || *v > most {
		return fmt.Errorf("%w: %s %d is not within 1 to %d", ErrConfig, name, *v, most)
	}
	return nil
}

func setDuration(name string, v *time.Duration, def, most time.Duration) error {
	if *v == 0 {
		*v = def
	}
	if *v < 0 || *v > most {
		return fmt.Errorf("%w: %s %v is not within 1ns to %v", ErrConfig, name, *v, most)
	}
	return nil
}
