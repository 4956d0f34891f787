package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// section is a table of the results of one kind, as text: what the terminal
// and the page both show.
type section struct {
	kind    string
	title   string
	common  []string // settings that all rows share, in words
	columns []column
	rows    []row
}

// column describes cells[i] of every row.
type column struct {
	title string
	right bool // aligned right, for figures
	// drop: on a narrow terminal columns with the highest drop go first; 0
	// stays.
	drop int
}

// row is one result, or the limit that belongs to the result above it.
type row struct {
	cells []string
	limit bool
}

// field makes one column.
type field struct {
	column
	// setting: said once above the table where all results agree.
	setting bool
	// common puts a value into words for there.
	common func(string) string
	got    func(*Result) string
	bare   func(*Measured) string
}

// inWords is the title of the column that puts ratios into words.
const inWords = "in words"

var kindTitles = map[string]string{
	KindRTT:    "Round trips",
	KindStream: "One-way streams",
	KindFanIn:  "Many peers to one",
	KindRPC:    "Typed calls",
	KindTopic:  "Events of a topic",
	KindLimit:  "Limits of the hardware",
	KindJitter: "What the host takes from a spinning core",
}

func kindTitle(kind string) string {
	if t, ok := kindTitles[kind]; ok {
		return t
	}
	return printable(kind)
}

// sections groups results by kind, in the order in which kinds first appear.
func sections(results []Result) []section {
	var kinds []string
	for _, r := range results {
		if !slices.Contains(kinds, r.Kind) {
			kinds = append(kinds, r.Kind)
		}
	}
	var out []section
	for _, kind := range kinds {
		var of []*Result
		for i := range results {
			if results[i].Kind == kind {
				of = append(of, &results[i])
			}
		}
		out = append(out, newSection(kind, of))
	}
	return out
}

func newSection(kind string, results []*Result) section {
	s := section{kind: kind, title: kindTitle(kind)}
	for _, r := range results {
		s.rows = append(s.rows, row{})
		if r.Limit != nil {
			s.rows = append(s.rows, row{limit: true})
		}
	}
	for _, f := range fieldsOf(kind) {
		values := make([]string, 0, len(s.rows))
		var settings []string
		for _, r := range results {
			v := f.got(r)
			values, settings = append(values, v), append(settings, v)
			if r.Limit != nil {
				values = append(values, f.ofLimit(r.Limit))
			}
		}
		if f.setting && len(slices.Compact(settings)) == 1 {
			if words := f.common(values[0]); values[0] != "" && words != "" {
				s.common = append(s.common, words)
			}
			continue
		}
		// The first column, the name, is there even if nobody has one.
		if len(s.columns) > 0 && !slices.ContainsFunc(values, func(v string) bool { return v != "" }) {
			continue
		}
		s.columns = append(s.columns, f.column)
		for i := range s.rows {
			s.rows[i].cells = append(s.rows[i].cells, values[i])
		}
	}
	return s
}

func (f field) ofLimit(m *Measured) string {
	if f.bare == nil {
		return ""
	}
	return f.bare(m)
}

// fieldsOf returns the columns that a kind may show; empty ones are left out
// later.
func fieldsOf(kind string) []field {
	fields := settingFields()
	fields = append(fields, timeFields()...)
	if kind != KindRTT {
		// One round trip after the other: the rate only repeats the mean.
		fields = append(fields, throughputFields()...)
	}
	if kind == KindJitter {
		fields = append(fields, jitterFields()...)
	}
	fields = append(fields, ratioFields(kind)...)
	return append(fields, field{
		column: column{title: inWords, drop: 9},
		got:    verdict,
	})
}

func settingFields() []field {
	name := func(s Setting) string { return printable(s.Link) }
	same := func(v string) string { return v }
	return []field{
		{column: column{title: "link"},
			got:  func(r *Result) string { return name(r.Setting) },
			bare: func(m *Measured) string { return "limit: " + name(m.Setting) }},
		{column: column{title: "size", right: true, drop: 1}, setting: true, common: same,
			got: func(r *Result) string { return sizeOf(r.Setting) }},
		{column: column{title: "batch", right: true, drop: 2}, setting: true,
			common: func(v string) string {
				if v == "1" {
					return "" // one by one is what everybody expects
				}
				return "batch " + v
			},
			got: func(r *Result) string { return strconv.Itoa(max(r.Batch, 1)) }},
		{column: column{title: "peers", right: true, drop: 2}, setting: true,
			common: func(v string) string { return v + " peers" },
			got:    func(r *Result) string { return peersOf(r.Setting) }},
		{column: column{title: "caller", drop: 1}, setting: true,
			common: func(v string) string { return "called from " + article(v) },
			got:    func(r *Result) string { return printable(r.Caller) }},
		{column: column{title: "handler", drop: 1}, setting: true,
			common: func(v string) string { return "handled " + handledBy(v) },
			got:    func(r *Result) string { return printable(r.Handler) }},
		{column: column{title: "window", right: true, drop: 1}, setting: true,
			common: func(v string) string { return v + " under way" },
			got:    func(r *Result) string { return windowOf(r.Setting) }},
		{column: column{title: "wait", drop: 4}, setting: true,
			common: func(v string) string { return "wait " + v },
			got:    func(r *Result) string { return printable(r.Wait) }},
		{column: column{title: "loop", drop: 3}, setting: true,
			common: func(v string) string {
				kind, rate, open := strings.Cut(v, " ")
				if open {
					return kind + " loop at " + rate
				}
				return kind + " loop"
			},
			got: func(r *Result) string {
				if r.Loop == Open {
					return Open + " " + FormatMsgs(float64(r.Rate))
				}
				return printable(r.Loop)
			}},
	}
}

func timeFields() []field {
	one := func(title string, drop int, get func(*Latency) *float64) field {
		figure := ns(get)
		show := func(f Figures) string { return optional(figure(f), FormatNS) }
		return field{column: column{title: title, right: true, drop: drop},
			got:  func(r *Result) string { return show(r.Figures) },
			bare: func(m *Measured) string { return show(m.Figures) }}
	}
	return []field{
		one("p50", 0, func(l *Latency) *float64 { return l.P50 }),
		one("p99", 0, func(l *Latency) *float64 { return l.P99 }),
		one("p99.9", 5, func(l *Latency) *float64 { return l.P999 }),
		one("p99.99", 8, func(l *Latency) *float64 { return l.P9999 }),
		one("max", 7, func(l *Latency) *float64 { return &l.Max }),
	}
}

func throughputFields() []field {
	one := func(title string, figure func(Figures) *float64, format func(float64) string) field {
		show := func(f Figures) string { return optional(figure(f), format) }
		return field{column: column{title: title, right: true},
			got:  func(r *Result) string { return show(r.Figures) },
			bare: func(m *Measured) string { return show(m.Figures) }}
	}
	return []field{
		one("messages", msgsPerS, FormatMsgs),
		one("payload", bytesPerS, FormatBytes),
	}
}

func jitterFields() []field {
	one := func(title string, show func(*Jitter) string) field {
		return field{column: column{title: title, right: true}, got: func(r *Result) string {
			if r.Jitter == nil {
				return ""
			}
			return show(r.Jitter)
		}}
	}
	return []field{
		one("gaps from", func(j *Jitter) string { return FormatNS(j.ThresholdNS) }),
		one("gaps", func(j *Jitter) string { return digits3(j.GapsPerS) + "/s" }),
		one("time lost", func(j *Jitter) string { return formatPercent(j.LostShare) }),
	}
}

func ratioFields(kind string) []field {
	one := func(title string, drop int, get func(*Result) *float64) field {
		return field{column: column{title: title, right: true, drop: drop},
			got: func(r *Result) string { return optional(get(r), formatRatio) }}
	}
	fields := []field{
		one("p50/limit", 0, func(r *Result) *float64 { return r.RatioP50 }),
		one("p99/limit", 6, func(r *Result) *float64 { return r.RatioP99 }),
		one("p99.9/limit", 6, func(r *Result) *float64 { return r.RatioP999 }),
	}
	if kind == KindRTT || kind == KindRPC {
		return fields
	}
	return append(fields,
		one("of limit", 0, func(r *Result) *float64 {
			return throughputRatio(r, byBytes(r.Setting))
		}))
}

// byBytes says whether a throughput is better told in bytes than in messages.
func byBytes(s Setting) bool { return s.Size >= 1024 }

// verdict says in words what the ratios say, with their spread.
func verdict(r *Result) string {
	var spread Spread
	if r.Spread != nil {
		spread = *r.Spread
	}
	ratio, over := throughputRatio(r, byBytes(r.Setting)), spread.RatioMsgs
	if byBytes(r.Setting) {
		over = spread.RatioBytes
	}
	switch {
	case r.Kind != KindRTT && r.Kind != KindRPC && ratio != nil:
		return formatPercent(*ratio) + " of the limit" + between(over, formatPercent)
	case r.RatioP50 != nil && *r.RatioP50 >= 2:
		return digits3(*r.RatioP50) + " times the limit" + between(spread.RatioP50, digits3)
	case r.RatioP50 != nil:
		above := func(v float64) string { return formatPercent(v - 1) }
		return above(*r.RatioP50) + " above the limit" + between(spread.RatioP50, above)
	}
	return ""
}

// between writes a spread in brackets.
func between(r *Range, format func(float64) string) string {
	if r == nil {
		return ""
	}
	low, high := format(r.Min), format(r.Max)
	if low == high {
		return ""
	}
	return " (" + strings.TrimSuffix(low, " %") + " to " + high + ")"
}

func sizeOf(s Setting) string {
	if s.Size == 0 && s.Payload == 0 {
		return ""
	}
	return FormatSize(s.Size)
}

func peersOf(s Setting) string {
	switch {
	case s.peers() == 1:
		return ""
	case s.busy() == s.peers():
		return strconv.Itoa(s.peers())
	}
	return fmt.Sprintf("%d of %d", s.busy(), s.peers())
}

// article puts its article before a caller.
func article(caller string) string {
	if caller == "engine" {
		return "an engine"
	}
	return "a " + caller
}

// handledBy says who handles a call.
func handledBy(handler string) string {
	if handler == "pool" {
		return "by a pool of goroutines"
	}
	return handler
}

// windowOf is "" for calls one by one, which is what everybody expects.
func windowOf(s Setting) string {
	if s.Window <= 1 {
		return ""
	}
	return strconv.Itoa(s.Window)
}

func loadOf(s Setting) string {
	switch s.Loop {
	case Closed:
		return "closed loop"
	case Open:
		return "open loop at " + FormatMsgs(float64(s.Rate))
	}
	return ""
}

// String names the setting in a line: "rtt ring 64 B spin closed loop".
func (s Setting) String() string {
	parts := []string{s.Kind, s.Link, sizeOf(s)}
	if s.Payload != s.Size {
		parts = append(parts, "("+strconv.Itoa(s.Payload)+" of payload)")
	}
	if s.Batch > 1 {
		parts = append(parts, "batch "+strconv.Itoa(s.Batch))
	}
	if p := peersOf(s); p != "" {
		parts = append(parts, p+" peers")
	}
	if s.Caller != "" {
		parts = append(parts, "from "+article(s.Caller), handledBy(s.Handler))
	}
	if w := windowOf(s); w != "" {
		parts = append(parts, "window "+w)
	}
	parts = append(parts, s.Wait, loadOf(s))
	return printable(spaced(parts...))
}
