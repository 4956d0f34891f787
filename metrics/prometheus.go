package metrics

import (
	"bufio"
	"io"
	"math/bits"
	"strconv"
	"strings"
)

// WritePrometheus writes s in Prometheus' text exposition format 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/). Names and
// units are as registered, nothing is rescaled; the unit stands in HELP.
//
// A histogram becomes a Prometheus histogram with a bucket for each power of
// two, whose edges (2^k-1, inclusive) are edges of ours, so the counts are
// exact. It is not a summary: quantiles since the start of a process never
// forget, and can't be added up over processes. _sum takes each value as the
// middle of its bucket. A clipped value is counted in le="+Inf" alone if it
// lies in the last bucket.
func WritePrometheus(w io.Writer, s *Snapshot) error {
	e := exposition{w: bufio.NewWriter(w)}
	last := ""
	for _, m := range s.families() {
		if m.Name != last {
			e.head(&m)
			last = m.Name
		}
		switch m.Kind {
		case KindCounter:
			e.line(&m, "", "", strconv.FormatUint(m.Counter, 10))
		case KindGauge:
			e.line(&m, "", "", strconv.FormatInt(m.Gauge, 10))
		case KindHistogram:
			e.histogram(&m)
		}
	}
	return e.w.Flush() // bufio keeps the first error
}

type exposition struct {
	w *bufio.Writer
}

var (
	escapeHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	escapeValue = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

func (e *exposition) text(parts ...string) {
	for _, p := range parts {
		_, _ = e.w.WriteString(p)
	}
}

func (e *exposition) head(m *Sample) {
	help := m.Help
	if m.Unit != "" {
		help = strings.TrimSpace(help + " [" + m.Unit + "]")
	}
	e.text("# HELP ", m.Name, " ", escapeHelp.Replace(help), "\n# TYPE ", m.Name, " ", m.Kind.String(), "\n")
}

// line writes one value. le is the upper edge of a bucket, or "".
func (e *exposition) line(m *Sample, suffix, le, value string) {
	e.text(m.Name, suffix)
	sep := "{"
	pair := func(name, value string) {
		e.text(sep, name, `="`, escapeValue.Replace(value), `"`)
		sep = ","
	}
	for _, l := range m.Labels {
		pair(l.Name, l.Value)
	}
	if m.Writer != "" {
		pair(WriterLabel, m.Writer)
	}
	if le != "" {
		pair("le", le)
	}
	if sep == "," {
		e.text("}")
	}
	e.text(" ", value, "\n")
}

func (e *exposition) histogram(m *Sample) {
	d := m.Histogram
	seen, i := uint64(0), 0
	// The edges depend on the options alone: series must not come and go. The
	// last bucket holds clipped values too, so no finite edge includes it.
	for k := int(d.b.unit); k < bits.Len64(uint64(d.b.opt.Highest)); k++ {
		edge := int64(1)<<k - 1
		for ; i < len(d.counts)-1; i++ {
			if _, high := d.b.bounds(i); high > edge {
				break
			}
			seen += d.counts[i]
		}
		e.line(m, "_bucket", strconv.FormatInt(edge, 10), strconv.FormatUint(seen, 10))
	}
	e.line(m, "_bucket", "+Inf", strconv.FormatUint(d.total, 10))
	e.line(m, "_sum", "", strconv.FormatFloat(d.Mean()*float64(d.total), 'g', -1, 64))
	e.line(m, "_count", "", strconv.FormatUint(d.total, 10))
}
