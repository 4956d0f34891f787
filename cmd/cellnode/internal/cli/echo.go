package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/cmd/cellnode/internal/live"
	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// event is one event for programs.
type event struct {
	Event json.RawMessage `json:"event"`
	Lost  uint64          `json:"lost"` // so far
}

// newEcho prints a topic's events.
func newEcho(env *Env) *cobra.Command {
	var count int
	cmd := &cobra.Command{
		Use:   "echo NAME.Topic",
		Short: "Print a topic's events as they come",
		Long: `Subscribes and prints each event as a line of JSON, until interrupted or until
--count have come. The publisher never waits for this command: events that it
could not be given in time are counted and told on standard error.`,
		Example:           "  cellnode echo ticker.Prices --count 3",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: env.completeMethods(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if count < 0 {
				return usagef("--count %d is negative", count)
			}
			var told uint64
			n := 0
			return subscribe(cmd, env, args[0], func(m *live.Method, b live.Bytes, lost uint64) (bool, error) {
				if lost > told {
					fmt.Fprintf(env.Err, "%d events lost so far\n", lost)
					told = lost
				}
				text, err := m.Decode(schema.SlotEvent, b)
				if err != nil {
					return false, err
				}
				n++
				return count == 0 || n < count, env.Line(event{text, lost}, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "%s\n", text)
					return err
				})
			})
		},
	}
	cmd.Flags().IntVarP(&count, "count", "n", 0, "end after so many events (0: never)")
	return cmd
}

// subscribe hands f the events of a topic until f says that it has enough, or
// the command is interrupted.
func subscribe(cmd *cobra.Command, env *Env, path string, f func(m *live.Method, b live.Bytes, lost uint64) (more bool, err error)) error {
	begin, cancel := context.WithTimeout(cmd.Context(), live.Timeout)
	defer cancel()
	c, m, err := env.find(begin, path)
	if err != nil {
		return err
	}
	defer c.Close()
	if m.Mode != schema.Topic {
		return usagef("%v is no topic but %v: cellnode call calls it", m, m.Mode)
	}
	s, err := c.Conn.Subscribe(cmd.Context(), m.Method, rpc.SubscribeOptions{})
	if err != nil {
		return &CallError{err}
	}
	defer s.Close()
	for {
		var b live.Bytes
		if err := s.Receive(&b); err != nil {
			if cmd.Context().Err() != nil {
				return nil // interrupted: the usual end
			}
			return &CallError{err}
		}
		if more, err := f(m, b, s.Lost()); err != nil || !more {
			return err
		}
	}
}

// rate is what hz tells of one interval.
type rate struct {
	Events  uint64  `json:"events"`
	Hz      float64 `json:"hz"`
	BytesPS float64 `json:"bytes_per_second"`
	Lost    uint64  `json:"lost"` // since the start
	// Gaps between events, as this process saw them.
	GapP50 int64 `json:"gap_p50_ns"`
	GapP99 int64 `json:"gap_p99_ns"`
	GapMax int64 `json:"gap_max_ns"`
}

// newHz measures how often a topic has events.
func newHz(env *Env) *cobra.Command {
	var duration, every time.Duration
	cmd := &cobra.Command{
		Use:   "hz NAME.Topic",
		Short: "Measure how often a topic has events, and how evenly",
		Long: `Subscribes and prints, each --every, how many events came a second, their bytes,
and the gaps between them. This process waits asleep, so gaps of microseconds say
more about it than about the publisher.`,
		Example:           "  cellnode hz ticker.Prices --duration 5s",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: env.completeMethods(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if every <= 0 || duration < 0 {
				return usagef("--every must be above 0, and --duration not below")
			}
			return hz(cmd, env, args[0], duration, every)
		},
	}
	cmd.Flags().DurationVar(&duration, "duration", 0, "end after so long (0: never)")
	cmd.Flags().DurationVar(&every, "every", time.Second, "how often to print")
	return cmd
}

// hz tells rates in intervals that begin with the subscription, silent ones
// included.
func hz(cmd *cobra.Command, env *Env, path string, duration, every time.Duration) error {
	type arrival struct {
		at   time.Time
		size int
		lost uint64
	}
	arrivals := make(chan arrival, 4096)
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	cmd.SetContext(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- subscribe(cmd, env, path, func(_ *live.Method, b live.Bytes, lost uint64) (bool, error) {
			arrivals <- arrival{time.Now(), len(b), lost}
			return true, nil
		})
	}()
	gaps, err := metrics.NewHistogram(metrics.HistogramOptions{})
	if err != nil {
		return err
	}
	var r rate
	var bytes int
	var last time.Time
	begun := time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var over <-chan time.Time
	if duration > 0 {
		over = time.After(duration)
	}
	from := begun
	tell := func(now time.Time) error {
		s := now.Sub(from).Seconds()
		g := gaps.Snapshot().Summary()
		r.Hz, r.BytesPS, r.GapP50, r.GapP99, r.GapMax = float64(r.Events)/s, float64(bytes)/s, g.P50, g.P99, g.Max
		from, bytes = now, 0
		gaps.Reset()
		defer func() { r.Events = 0 }()
		return env.Line(r, r.print)
	}
	for {
		select {
		case a := <-arrivals:
			if !last.IsZero() {
				gaps.Record(int64(a.at.Sub(last)))
			}
			last, r.Lost = a.at, a.lost
			r.Events++
			bytes += a.size
		case now := <-tick.C:
			if err := tell(now); err != nil {
				return err
			}
		case now := <-over:
			if from != begun && now.Sub(from) < every/2 {
				return nil
			}
			return tell(now) // of the last interval, whose tick comes with the end or never
		case err := <-ended:
			var call *CallError
			if errors.As(err, &call) && rpc.StatusOf(call.Err) == wire.StatusCanceled {
				return nil
			}
			return err
		}
	}
}

func (r rate) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%.1f events/s  %.0f bytes/s  gaps p50 %v p99 %v max %v  lost %d\n", r.Hz, r.BytesPS,
		time.Duration(r.GapP50), time.Duration(r.GapP99), time.Duration(r.GapMax), r.Lost)
	return err
}
