package report

import (
	"fmt"
	"strconv"
)

// Geometry of a bar chart, in the units of its SVG view box.
const (
	barsWidth  = 860.0
	barsLeft   = 160.0 // room for names
	barsRight  = 190.0 // room for figures
	barHeight  = 14.0
	limitBar   = 7.0
	barsPitch  = 40.0 // from one result to the next
	barsMargin = 6.0
)

// bars is a chart of throughputs, each with its limit below it, all on one
// linear scale.
type bars struct {
	ID, Title, Summary string
	Width, Height      string
	Zero, NameX        string // where bars begin, and names end
	Bars               []bar
	Table              numbers
}

// bar is one result and its limit.
type bar struct {
	Name, Value, LimitValue       string
	NameY, Y, Length              string
	LimitY, LimitLength           string
	ValueX, ValueY, LimitValueY   string
	WhiskerY, WhiskerA, WhiskerB  string // the spread over the rounds
	HasLimit, HasWhisker          bool
	BarHeight, LimitHeight, Class string
}

// barCharts makes a chart for each kind and size that has a throughput: only
// like sizes may be compared by length.
func barCharts(results []Result, hues palette) []bars {
	type group struct {
		kind string
		size int
	}
	var order []group
	members := map[group][]*Result{}
	for i := range results {
		r := &results[i]
		if r.Kind == KindRTT || throughput(r.Figures, byBytes(r.Setting)) == nil {
			continue
		}
		g := group{r.Kind, r.Size}
		if members[g] == nil {
			order = append(order, g)
		}
		members[g] = append(members[g], r)
	}
	var out []bars
	for _, g := range order {
		title := joinWords(", ", kindTitle(g.kind), sizeOf(members[g][0].Setting))
		out = append(out, newBars("bars"+strconv.Itoa(len(out)+1), title, members[g], hues))
	}
	return out
}

func throughput(f Figures, inBytes bool) *float64 {
	if inBytes {
		return f.BytesPerS
	}
	return f.MsgsPerS
}

func throughputRatio(r *Result, inBytes bool) *float64 {
	if inBytes {
		return r.RatioBytes
	}
	return r.RatioMsgs
}

func newBars(id, title string, results []*Result, hues palette) bars {
	inBytes := byBytes(results[0].Setting)
	format := FormatMsgs
	unit := "messages per second"
	if inBytes {
		format, unit = FormatBytes, "payload bytes per second"
	}
	most := 0.0
	for _, r := range results {
		most = max(most, *throughput(r.Figures, inBytes))
		if r.Limit != nil {
			if v := throughput(r.Limit.Figures, inBytes); v != nil {
				most = max(most, *v)
			}
		}
		if w := whisker(r, inBytes); w != nil {
			most = max(most, w.Max)
		}
	}
	length := func(v float64) float64 {
		if most == 0 {
			return 0
		}
		return v / most * (barsWidth - barsLeft - barsRight)
	}
	b := bars{
		ID: id, Title: title, Width: px(barsWidth), Zero: px(barsLeft), NameX: px(barsLeft - 10),
		Height: px(2*barsMargin + barsPitch*float64(len(results))),
		Table:  numbers{Head: []string{"", unit, "limit", "of limit", "rounds from", "to"}},
	}
	for i, r := range results {
		x := newBar(r, curveName(r.Setting, results), i, inBytes, length, format)
		x.Class = hues.class(r.Setting, nil)
		b.Bars = append(b.Bars, x)
		b.Table.Rows = append(b.Table.Rows, barNumbers(r, x.Name, inBytes, format))
	}
	b.Summary = fmt.Sprintf("Throughput in %s, with the limit of the hardware below each bar.", unit)
	for _, x := range b.Bars {
		b.Summary += " " + joinWords(", ", x.Name+": "+x.Value, x.LimitValue) + "."
	}
	return b
}

func newBar(r *Result, name string, i int, inBytes bool, length func(float64) float64, format func(float64) string) bar {
	v := *throughput(r.Figures, inBytes)
	top := barsMargin + barsPitch*float64(i)
	x := bar{
		Name: clip(name, labelLength+2), Value: format(v),
		Y: px(top), Length: px(max(length(v), 1)), BarHeight: px(barHeight), LimitHeight: px(limitBar),
		NameY: px(top + 16), ValueY: px(top + 11), LimitValueY: px(top + 25),
	}
	end := length(v)
	if w := whisker(r, inBytes); w != nil {
		x.HasWhisker = true
		x.WhiskerY = px(top + barHeight/2)
		x.WhiskerA, x.WhiskerB = px(barsLeft+length(w.Min)), px(barsLeft+length(w.Max))
		end = max(end, length(w.Max))
	}
	if r.Limit != nil {
		if l := throughput(r.Limit.Figures, inBytes); l != nil {
			x.HasLimit = true
			x.LimitY, x.LimitLength = px(top+barHeight+2), px(max(length(*l), 1))
			x.LimitValue = "limit " + format(*l)
			if share := throughputRatio(r, inBytes); share != nil {
				x.LimitValue = formatPercent(*share) + " of limit " + format(*l)
			}
			end = max(end, length(*l))
		}
	}
	x.ValueX = px(barsLeft + end + 8)
	return x
}

func whisker(r *Result, inBytes bool) *Range {
	switch {
	case r.Spread == nil:
		return nil
	case inBytes:
		return r.Spread.BytesPerS
	}
	return r.Spread.MsgsPerS
}

func barNumbers(r *Result, name string, inBytes bool, format func(float64) string) []string {
	cells := []string{name, format(*throughput(r.Figures, inBytes)), "", "", "", ""}
	if r.Limit != nil {
		cells[2] = optional(throughput(r.Limit.Figures, inBytes), format)
	}
	cells[3] = optional(throughputRatio(r, inBytes), formatPercent)
	if w := whisker(r, inBytes); w != nil {
		cells[4], cells[5] = format(w.Min), format(w.Max)
	}
	return cells
}
