package report

import (
	"io"
	"slices"
	"strings"
)

// WriteJSON writes the comparison as indented JSON.
func (c Comparison) WriteJSON(w io.Writer) error { return encode(w, c) }

// WriteText writes the comparison as tables for people.
func (c Comparison) WriteText(w io.Writer, style Style) error {
	var b strings.Builder
	if len(c.Unlike) > 0 {
		b.WriteString(style.bold("Compared by force, though these differ:") + "\n")
		var said []string
		for _, d := range c.Unlike {
			line := printable("  " + d.Field + ": " + orNothing(d.A) + ", but " + orNothing(d.B))
			if !slices.Contains(said, line) {
				said = append(said, line)
				b.WriteString(line + "\n")
			}
		}
		b.WriteString("\n")
	}
	for i, p := range c.Pairs {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(style.bold(p.Setting.String()) + "\n")
		if len(p.Deltas) == 0 {
			b.WriteString("no figure is on both sides\n")
			continue
		}
		p.section().write(&b, style)
	}
	for _, only := range []struct {
		title string
		names []string
	}{{"Only before", c.OnlyA}, {"Only after", c.OnlyB}} {
		if len(only.names) > 0 {
			b.WriteString("\n" + style.bold(only.title) + "\n  " + strings.Join(only.names, "\n  ") + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// section makes a table of a pair's deltas.
func (p Pair) section() section {
	s := section{columns: []column{
		{title: "figure"},
		{title: "before", right: true}, {title: "rounds", drop: 2},
		{title: "after", right: true}, {title: "rounds", drop: 2},
		{title: "change", right: true}, {title: "judgement"}, {title: "basis", drop: 1},
	}}
	for _, d := range p.Deltas {
		format := formatRatio
		switch {
		case d.Basis == ToLimit:
		case d.Figure == "msgs_per_s":
			format = FormatMsgs
		default:
			format = FormatNS
		}
		change := ""
		if d.Change != nil {
			if change = formatPercent(*d.Change); *d.Change > 0 {
				change = "+" + change
			}
		}
		s.rows = append(s.rows, row{cells: []string{
			figureTitles[d.Figure],
			format(d.A.Median), fromTo(d.A, format),
			format(d.B.Median), fromTo(d.B, format),
			change, d.Judgement, d.Basis,
		}})
	}
	return s
}

var figureTitles = map[string]string{"p50": "p50", "p99": "p99", "p99_9": "p99.9", "msgs_per_s": "messages"}

func fromTo(r Range, format func(float64) string) string {
	if r.Min == r.Max {
		return ""
	}
	return format(r.Min) + " to " + format(r.Max)
}
