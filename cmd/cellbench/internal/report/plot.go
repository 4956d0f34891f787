package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Geometry of a percentile plot, in the units of its SVG view box.
const (
	plotWidth   = 860.0
	plotHeight  = 400.0
	plotLeft    = 68.0  // room for the labels of the vertical axis
	plotRight   = 168.0 // room for the names of the curves
	plotTop     = 14.0
	plotBottom  = 48.0
	labelLeast  = 16.0 // least distance between two names
	labelLength = 22   // characters of a name
	maxCurves   = 6    // colours that can be told apart; more make another plot
)

// plot is a percentile plot ready to draw: the horizontal axis is the number
// of nines, so that each nine takes equal room as in HdrHistogram's plots; the
// vertical axis is logarithmic time.
type plot struct {
	ID, Title, Summary string
	Width, Height      string
	X, Y               []tick
	AxisX, AxisY       string // where the axes lie
	Top, Right, Bottom string
	LabelX, NameX      string // where labels end, and names of curves begin
	LeadX              string // where the lines to those names end
	Caption            string // the height of the horizontal axis's caption
	Curves             []curve
	Table              numbers
}

// tick is a grid line and its label.
type tick struct{ At, LabelAt, Label string }

// curve is one distribution.
type curve struct {
	Name   string // in full
	Short  string
	Class  string // "c0".."c5", or "limit l0".."limit l2"
	Path   string // of the medians
	Band   string // of the spread over the rounds; may be empty
	EndX   string // where the curve ends
	EndY   string
	LabelY string // the base line of its name
	LeadY  string // the middle of its name

	points []Point
	reach  float64 // nines at which the curve ends
	figure Figures
	labelY float64
}

// numbers is the table behind a plot.
type numbers struct {
	Head []string
	Rows [][]string
}

// plots makes the percentile plots: one for all results of a kind, size and
// load, with the limits measured beside them.
func plots(results []Result, hues palette) []plot {
	type group struct {
		kind, size, load string
	}
	var order []group
	members := map[group][]*Result{}
	for i := range results {
		r := &results[i]
		if len(r.Percentiles) == 0 || r.NS == nil {
			continue
		}
		g := group{r.Kind, sizeOf(r.Setting), loadOf(r.Setting)}
		if members[g] == nil {
			order = append(order, g)
		}
		members[g] = append(members[g], r)
	}
	var out []plot
	for _, g := range order {
		title := joinWords(", ", kindTitle(g.kind), g.size, g.load)
		parts := slices.Collect(slices.Chunk(members[g], maxCurves))
		for i, part := range parts {
			t := title
			if len(parts) > 1 {
				t = fmt.Sprintf("%s (%d of %d)", title, i+1, len(parts))
			}
			out = append(out, newPlot("plot"+strconv.Itoa(len(out)+1), t, g.kind, part, hues))
		}
	}
	return out
}

func joinWords(sep string, words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), sep)
}

func newPlot(id, title, kind string, results []*Result, hues palette) plot {
	p := plot{ID: id, Title: title, Width: px(plotWidth), Height: px(plotHeight)}
	p.Curves = curvesOf(results, hues)
	low, high, nines := math.Inf(1), 0.0, 1.0
	for _, c := range p.Curves {
		for _, pt := range c.points {
			low, high = min(low, timeFloor(pt.NS)), max(high, pt.NS, pt.High)
		}
		nines = max(nines, c.reach)
	}
	y := logAxis(low, max(high, low*1.01))
	x := func(n float64) float64 { return plotLeft + n/nines*(plotWidth-plotLeft-plotRight) }
	p.AxisX, p.AxisY = px(plotHeight-plotBottom), px(plotLeft)
	p.LabelX, p.NameX, p.Caption = px(plotLeft-10), px(plotWidth-plotRight+14), px(plotHeight-8)
	p.LeadX = px(plotWidth - plotRight + 11)
	p.Top, p.Right, p.Bottom = px(plotTop), px(plotWidth-plotRight), px(plotHeight-plotBottom)
	for _, q := range []struct {
		nines float64
		label string
	}{{0, "0 %"}, {math.Log10(2), "50 %"}, {1, "90 %"}, {2, "99 %"}, {3, "99.9 %"}, {4, "99.99 %"}, {5, "99.999 %"}, {6, "99.9999 %"}, {7, "99.99999 %"}} {
		if q.nines <= nines+1e-9 {
			p.X = append(p.X, tick{At: px(x(q.nines)), LabelAt: px(plotHeight - plotBottom + 18), Label: q.label})
		}
	}
	for _, v := range y.ticks() {
		p.Y = append(p.Y, tick{At: px(y.at(v)), LabelAt: px(y.at(v) + 4), Label: tickNS(v)})
	}
	for i := range p.Curves {
		p.Curves[i].draw(x, y)
	}
	placeLabels(p.Curves)
	p.Table = plotTable(p.Curves)
	p.Summary = plotSummary(kind, p.Curves)
	return p
}

// curvesOf returns a curve for each result and one for each different limit:
// where several results share a kind of limit, the first stands for all, for
// they differ only by the host's noise (the table has them all).
func curvesOf(results []*Result, hues palette) []curve {
	var out []curve
	var seen []Setting
	taken := map[string]bool{}
	for _, r := range results {
		class := hues.class(r.Setting, taken)
		out = append(out, newCurve(curveName(r.Setting, results), class, r.Figures))
	}
	for _, r := range results {
		if r.Limit == nil || r.Limit.NS == nil || len(r.Limit.Percentiles) == 0 || slices.Contains(seen, r.Limit.Setting) {
			continue
		}
		class := fmt.Sprintf("limit l%d", len(seen)%3)
		seen = append(seen, r.Limit.Setting)
		out = append(out, newCurve("limit: "+printable(r.Limit.Link), class, r.Limit.Figures))
	}
	return out
}

// palette gives each link and wait mode one colour on the whole page, in the
// order in which they appear.
type palette map[[2]string]int

// class returns the class of s's colour, or of the next one free where s's own
// is already taken, and marks it as taken; a nil taken never is.
func (p palette) class(s Setting, taken map[string]bool) string {
	key := [2]string{s.Link, s.Wait}
	if _, ok := p[key]; !ok {
		p[key] = len(p)
	}
	hue := func(i int) string { return "c" + strconv.Itoa((p[key]+i)%maxCurves) }
	for i := range maxCurves {
		if h := hue(i); taken != nil && !taken[h] {
			taken[h] = true
			return h
		}
	}
	return hue(0)
}

// curveName tells a result from the others in its plot, and no more.
func curveName(s Setting, among []*Result) string {
	words := []string{printable(s.Link)}
	differ := func(of func(Setting) string) {
		for _, r := range among {
			if of(r.Setting) != of(s) {
				words = append(words, printable(of(s)))
				return
			}
		}
	}
	differ(func(s Setting) string { return s.Wait })
	differ(func(s Setting) string {
		if s.Batch <= 1 {
			return "one by one"
		}
		return "batch " + strconv.Itoa(s.Batch)
	})
	differ(func(s Setting) string { return joinWords(" ", peersOf(s), "peers") })
	return joinWords(" ", words...)
}

func newCurve(name, class string, f Figures) curve {
	last := f.Percentiles[len(f.Percentiles)-1]
	return curve{
		Name: name, Short: clip(name, labelLength), Class: class,
		points: f.Percentiles, figure: f, reach: ninesOf(last.Q),
	}
}

// ninesOf is the place of a quantile on the horizontal axis: 0.99 is 2.
func ninesOf(q float64) float64 { return -math.Log10(1 - q) }

// timeFloor keeps a time of zero, below the clock's grain, on a logarithmic
// axis.
func timeFloor(ns float64) float64 { return max(ns, 0.1) }

func (c *curve) draw(x func(float64) float64, y axis) {
	var line, upper, lower []string
	band := false
	for _, p := range c.points {
		at := px(x(ninesOf(p.Q)))
		line = append(line, at+","+px(y.at(p.NS)))
		low, high := p.Low, p.High
		if high == 0 {
			low, high = p.NS, p.NS
		}
		band = band || high > low
		upper = append(upper, at+","+px(y.at(high)))
		lower = append(lower, at+","+px(y.at(low)))
	}
	c.Path = "M" + strings.Join(line, " L")
	if band {
		slices.Reverse(lower)
		c.Band = "M" + strings.Join(append(upper, lower...), " L") + " Z"
	}
	c.labelY = y.at(c.points[len(c.points)-1].NS)
	c.EndX, c.EndY = px(x(c.reach)), px(c.labelY)
}

// placeLabels moves names apart that would overlap, as little as it takes.
func placeLabels(curves []curve) {
	order := make([]*curve, 0, len(curves))
	for i := range curves {
		order = append(order, &curves[i])
	}
	slices.SortStableFunc(order, func(a, b *curve) int { return cmp.Compare(a.labelY, b.labelY) })
	bottom := plotHeight - plotBottom
	for i, c := range order {
		if i > 0 {
			c.labelY = max(c.labelY, order[i-1].labelY+labelLeast)
		}
	}
	for i := len(order) - 1; i >= 0; i-- {
		order[i].labelY = min(order[i].labelY, bottom)
		bottom = order[i].labelY - labelLeast
		order[i].LabelY, order[i].LeadY = px(order[i].labelY+4), px(order[i].labelY)
	}
}

func plotTable(curves []curve) numbers {
	t := numbers{Head: []string{"", "min", "p50", "p90", "p99", "p99.9", "p99.99", "p99.999", "max", "mean", "samples"}}
	for _, c := range curves {
		l := c.figure.NS
		cells := []string{c.Name, FormatNS(l.Min)}
		for _, f := range l.fields() {
			cells = append(cells, optional(*f, FormatNS))
		}
		t.Rows = append(t.Rows, append(cells, FormatNS(l.Max), FormatNS(l.Mean), strconv.FormatUint(c.figure.Count, 10)))
	}
	return t
}

// plotSummary describes the plot to those who can't see it.
func plotSummary(kind string, curves []curve) string {
	what := "Time"
	if kind == KindJitter {
		what = "Length of gaps"
	}
	var parts []string
	for _, c := range curves {
		l := c.figure.NS
		parts = append(parts, joinWords(", ", c.Name+" p50 "+optional(l.P50, FormatNS), "p99 "+optional(l.P99, FormatNS), "max "+FormatNS(l.Max)))
	}
	return what + " by percentile, both axes logarithmic. " + strings.Join(parts, "; ") + "."
}

// px writes a coordinate.
func px(v float64) string {
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}
