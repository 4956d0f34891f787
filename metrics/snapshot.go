package metrics

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Snapshot is what a file's instruments held at one time. It belongs to the
// caller.
type Snapshot struct {
	Taken   time.Time // when it was read
	Created time.Time // when the writer created the file
	PID     int       // the writer's
	State   State
	Samples []Sample // in the order of registration
}

// Sample is one instrument and its value.
type Sample struct {
	Kind             Kind
	Name, Help, Unit string
	Writer           string  // the [Writer]'s name, or ""
	Labels           []Label // sorted by name; read only

	Counter   uint64        // of KindCounter
	Gauge     int64         // of KindGauge
	Histogram *Distribution // of KindHistogram
}

// identity tells samples of one file apart.
func (s *Sample) identity() string {
	d := descriptor{name: s.Name, writer: s.Writer, labels: s.Labels}
	return d.key()
}

// Find returns the first sample of that name that has all the labels given.
// The writer can be given as the label [WriterLabel].
func (s *Snapshot) Find(name string, labels ...Label) (Sample, bool) {
	i := slices.IndexFunc(s.Samples, func(m Sample) bool {
		return m.Name == name && !slices.ContainsFunc(labels, func(l Label) bool {
			if l.Name == WriterLabel {
				return l.Value != m.Writer
			}
			return !slices.Contains(m.Labels, l)
		})
	})
	if i < 0 {
		return Sample{}, false
	}
	return s.Samples[i], true
}

// Merged returns the snapshot with instruments that differ only in their
// writer made one: counters and gauges are added, histograms merged. It fails
// with ErrLayout where they are of different kinds or options, which no writer
// of this package produces. s is unchanged.
func (s *Snapshot) Merged() (*Snapshot, error) {
	out := *s
	out.Samples = make([]Sample, 0, len(s.Samples))
	at := make(map[string]int, len(s.Samples))
	owned := make(map[int]bool) // histograms that are copies already
	for _, m := range s.Samples {
		m.Writer = ""
		key := m.identity()
		i, ok := at[key]
		if !ok {
			at[key] = len(out.Samples)
			out.Samples = append(out.Samples, m)
			continue
		}
		sum := &out.Samples[i]
		if sum.Kind != m.Kind {
			return nil, fmt.Errorf("%w: %s is a %v and a %v", ErrLayout, m.Name, sum.Kind, m.Kind)
		}
		sum.Counter += m.Counter
		sum.Gauge += m.Gauge
		if m.Kind != KindHistogram {
			continue
		}
		if !owned[i] {
			sum.Histogram, owned[i] = sum.Histogram.Clone(), true
		}
		if err := sum.Histogram.Merge(m.Histogram); err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	return &out, nil
}

// Sub returns what happened since an earlier snapshot of the same file:
// counters and histograms as differences, gauges as they are. Instruments that
// didn't exist then count from zero, and so does everything if the file was
// created anew in between. s is unchanged.
func (s *Snapshot) Sub(earlier *Snapshot) (*Snapshot, error) {
	out := *s
	out.Samples = slices.Clone(s.Samples)
	if !s.Created.Equal(earlier.Created) || s.PID != earlier.PID {
		return &out, nil
	}
	then := make(map[string]*Sample, len(earlier.Samples))
	for i := range earlier.Samples {
		then[earlier.Samples[i].identity()] = &earlier.Samples[i]
	}
	for i := range out.Samples {
		m := &out.Samples[i]
		e := then[m.identity()]
		if e == nil || e.Kind != m.Kind {
			continue
		}
		switch m.Kind {
		case KindCounter:
			m.Counter -= e.Counter // modulo 2^64, as it counts
		case KindHistogram:
			m.Histogram = m.Histogram.Clone()
			if err := m.Histogram.Sub(e.Histogram); err != nil {
				return nil, fmt.Errorf("%s: %w", m.Name, err)
			}
		}
	}
	return &out, nil
}

// families returns the samples grouped by name, names and labels sorted, as
// the exposition format demands.
func (s *Snapshot) families() []Sample {
	sorted := slices.Clone(s.Samples)
	slices.SortStableFunc(sorted, func(a, b Sample) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return slices.CompareFunc(a.Labels, b.Labels, func(x, y Label) int {
			if c := strings.Compare(x.Name, y.Name); c != 0 {
				return c
			}
			return strings.Compare(x.Value, y.Value)
		})
	})
	return sorted
}
