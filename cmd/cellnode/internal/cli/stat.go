package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/cmd/cellnode/internal/live"
	"github.com/cell-runtime/cell/metrics"
)

// watched is a metrics file that is read again and again.
type watched struct {
	name   string
	reader *metrics.Reader
	last   *metrics.Snapshot
}

// watch reads the metrics files of the runtime directory. Reading never
// touches the processes that write them.
type watch struct {
	dir   string
	files map[string]*watched
}

func newWatch(dir string) (*watch, error) {
	dir, err := live.Dir(dir)
	return &watch{dir: dir, files: map[string]*watched{}}, err
}

func (w *watch) close() {
	for _, f := range w.files {
		_ = f.reader.Close()
	}
}

// instrument is one line of stat.
type instrument struct {
	Process string            `json:"process"` // the file's name
	PID     int               `json:"pid"`
	Alive   bool              `json:"alive"`
	Writer  string            `json:"writer,omitempty"`
	Name    string            `json:"name"`
	Labels  map[string]string `json:"labels,omitempty"`
	Kind    string            `json:"kind"`
	Unit    string            `json:"unit,omitempty"`
	Help    string            `json:"help,omitempty"`
	Value   int64             `json:"value"`          // count of a counter or histogram, level of a gauge
	Rate    float64           `json:"rate,omitempty"` // a second, since the look before
	Times   *metrics.Summary  `json:"summary,omitempty"`
}

// look reads all files once. With an earlier look, rates and summaries are
// those of the time since. Files that can't be read are in the error; the rest
// is there.
func (w *watch) look() ([]instrument, error) {
	names, err := live.MetricsFiles(w.dir)
	if err != nil {
		return nil, err
	}
	for name, f := range w.files {
		if !slices.Contains(names, name) || !f.reader.WriterAlive() {
			_ = f.reader.Close() // gone, or perhaps replaced: open it anew
			delete(w.files, name)
		}
	}
	all := []instrument{}
	var errs []error
	for _, name := range names {
		found, err := w.lookAt(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.metrics: %w", name, err))
		}
		all = append(all, found...)
	}
	return all, errors.Join(errs...)
}

func (w *watch) lookAt(name string) ([]instrument, error) {
	f := w.files[name]
	if f == nil {
		r, err := metrics.Open(filepath.Join(w.dir, name+".metrics"))
		if err != nil {
			return nil, err
		}
		f = &watched{name: name, reader: r}
		w.files[name] = f
	}
	now, err := f.reader.Snapshot()
	if err != nil {
		return nil, err
	}
	since := now
	if f.last != nil {
		if since, err = now.Sub(f.last); err != nil {
			return nil, err
		}
	}
	all := make([]instrument, 0, len(now.Samples))
	for i, s := range now.Samples {
		line := instrument{Process: name, PID: now.PID, Alive: f.reader.WriterAlive(), Writer: s.Writer, Name: s.Name,
			Kind: s.Kind.String(), Unit: s.Unit, Help: s.Help}
		for _, l := range s.Labels {
			if line.Labels == nil {
				line.Labels = map[string]string{}
			}
			line.Labels[l.Name] = l.Value
		}
		line.fill(s, since.Samples[i])
		if f.last != nil && line.Kind != metrics.KindGauge.String() {
			line.Rate /= now.Taken.Sub(f.last.Taken).Seconds()
		} else {
			line.Rate = 0
		}
		all = append(all, line)
	}
	f.last = now
	return all, nil
}

// fill sets what a sample measured, and Rate to what it counted since the
// earlier one.
func (l *instrument) fill(s, since metrics.Sample) {
	switch s.Kind {
	case metrics.KindCounter:
		l.Value, l.Rate = int64(s.Counter), float64(since.Counter)
	case metrics.KindGauge:
		l.Value = s.Gauge
	case metrics.KindHistogram:
		l.Value, l.Rate = int64(s.Histogram.Count()), float64(since.Histogram.Count())
		times := since.Histogram.Summary()
		if times.Count == 0 {
			times = s.Histogram.Summary()
		}
		l.Times = &times
	}
}

// newStat prints all metrics once, or again and again.
func newStat(env *Env) *cobra.Command {
	var every time.Duration
	var count int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stat [PROCESS…]",
		Short: "Print the metrics of the processes of this host",
		Long: `Reads the metrics files of the runtime directory, or those of the named processes,
and prints every instrument: counters with their rate, gauges, histograms with
percentiles. The processes don't notice: files are read, nobody is asked.

A process that died leaves its last figures, but a node's cells take theirs along.
Programs that use uds.Metrics show theirs where the environment variable
CELL_METRICS says, and cells behind walls in memory of their node.`,
		Example: "  cellnode stat\n  cellnode stat node --every 1s\n  cellnode stat --json | jq '.[] | select(.kind == \"histogram\")'",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if every < 0 || count < 0 {
				return usagef("--every and --count must not be below 0")
			}
			if err := validNames(args); err != nil {
				return err
			}
			if asJSON {
				env.format = formatJSON
			}
			return stat(cmd, env, args, every, count)
		},
	}
	cmd.Flags().DurationVar(&every, "every", 0, "print again and again, so long apart; rates and percentiles are then of that time")
	cmd.Flags().IntVarP(&count, "count", "n", 0, "with --every: end after so many times (0: never)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "the same as -o json")
	return cmd
}

func stat(cmd *cobra.Command, env *Env, only []string, every time.Duration, count int) error {
	w, err := newWatch(env.Dir)
	if err != nil {
		return err
	}
	defer w.close()
	for n := 1; ; n++ {
		all, err := w.look()
		if len(all) == 0 && err != nil && every == 0 {
			return err // and not that nobody shows any
		}
		if len(only) > 0 {
			all = slices.DeleteFunc(all, func(i instrument) bool { return !slices.Contains(only, i.Process) })
			if len(all) == 0 && every == 0 && !env.JSON() {
				return fmt.Errorf("nobody shows metrics as %s in the runtime directory; cellnode stat without names lists who does", strings.Join(only, " or "))
			}
		}
		show := env.Show
		if every > 0 {
			show = env.Line
		}
		if showErr := show(all, func(w io.Writer) error { return printInstruments(w, all) }); showErr != nil {
			return showErr
		}
		if every == 0 || n == count {
			return err
		}
		if err != nil {
			fmt.Fprintln(env.Err, err)
		}
		select {
		case <-cmd.Context().Done():
			return nil
		case <-time.After(every):
		}
	}
}

func printInstruments(w io.Writer, all []instrument) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "no process shows metrics here: start one with CELL_METRICS=/path/of/the/runtime/directory/NAME.metrics")
		return err
	}
	rows := [][]string{}
	for _, i := range all {
		process := i.Process
		if !i.Alive {
			process += " (ended)"
		}
		value := fmt.Sprint(i.Value)
		if i.Kind == metrics.KindGauge.String() && i.Unit != "" {
			value += " " + i.Unit
		}
		rest := ""
		if i.Rate > 0 {
			rest = fmt.Sprintf("%.1f/s", i.Rate)
		}
		if i.Times != nil && i.Times.Count > 0 {
			rest = strings.TrimSpace(rest + " " + percentiles(i.Times, i.Unit))
		}
		rows = append(rows, []string{process, i.Writer, i.label(), value, rest})
	}
	return table(w, []string{"PROCESS", "WRITER", "INSTRUMENT", "VALUE", ""}, rows)
}

// label is the name with its labels.
func (i instrument) label() string {
	var labels []string
	for name, value := range i.Labels {
		labels = append(labels, name+"="+value)
	}
	slices.Sort(labels)
	if len(labels) == 0 {
		return i.Name
	}
	return i.Name + "{" + strings.Join(labels, ",") + "}"
}

func percentiles(s *metrics.Summary, unit string) string {
	show := func(v int64) string {
		if unit == "ns" {
			return took(v)
		}
		return fmt.Sprint(v) + unit
	}
	return fmt.Sprintf("p50 %s p99 %s p99.9 %s max %s", show(s.P50), show(s.P99), show(s.P999), show(s.Max))
}

// took is a short time with three digits.
func took(ns int64) string {
	d := time.Duration(ns)
	switch {
	case d == 0:
		return "-"
	case d < time.Microsecond:
		return fmt.Sprintf("%dns", ns)
	case d < time.Millisecond:
		return fmt.Sprintf("%.3gµs", float64(ns)/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.3gms", float64(ns)/1e6)
	}
	return d.Round(10 * time.Millisecond).String()
}
