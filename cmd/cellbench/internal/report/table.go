package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Style says how text may look where it goes.
type Style struct {
	// Width is how many columns a line may have; 0 means any.
	Width int
	// Colour allows escape sequences for bold and dim.
	Colour bool
}

const gutter = 2 // columns between columns

// WriteTable writes the results as aligned text, each with its limit on the
// line below. Where the terminal is too narrow the less important columns are
// left out, and in the last resort figures are listed below each other.
func WriteTable(w io.Writer, results []Result, style Style) error {
	var b strings.Builder
	if len(results) > 0 && results[0].Host != nil {
		b.WriteString(style.dim(hostLine(results[0].Host)) + "\n")
	}
	for _, s := range sections(results) {
		b.WriteString("\n" + style.bold(s.heading()) + "\n")
		s.write(&b, style)
	}
	if said := remarks(results); len(said) > 0 {
		b.WriteString("\n" + strings.Join(said, "\n") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s section) heading() string {
	return strings.Join(append([]string{s.title}, s.common...), ", ")
}

// hostLine says in a line where the results come from.
func hostLine(h *Host) string {
	parts := []string{h.CPU, "Linux " + h.Kernel, "CPUs " + joinInts(h.CPUs), "governor " + h.Governor, h.Go}
	if h.Virtual != none && h.Virtual != "" {
		parts = append(parts, h.Virtual)
	}
	if h.Race {
		parts = append(parts, "RACE DETECTOR ON: times mean nothing")
	}
	return printable(strings.Join(parts, " · "))
}

func joinInts(ns []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(ns), " ", ","), "[]")
}

func (s section) write(b *strings.Builder, style Style) {
	widths := s.widths()
	shown := s.fit(widths, style.Width)
	if shown == nil {
		s.list(b, style)
		return
	}
	line := func(cells func(int) string) string {
		var parts []string
		for _, c := range shown {
			parts = append(parts, pad(cells(c), widths[c], s.columns[c].right))
		}
		return strings.TrimRight(strings.Join(parts, strings.Repeat(" ", gutter)), " ")
	}
	b.WriteString(style.dim(line(func(c int) string { return s.columns[c].title })) + "\n")
	for _, r := range s.rows {
		text := line(func(c int) string { return r.cells[c] })
		if r.limit {
			text = style.dim(text)
		}
		b.WriteString(text + "\n")
	}
}

func (s section) widths() []int {
	widths := make([]int, len(s.columns))
	for c, col := range s.columns {
		widths[c] = displayWidth(col.title)
		for _, r := range s.rows {
			widths[c] = max(widths[c], displayWidth(r.cells[c]))
		}
	}
	return widths
}

// fit returns the columns that have room, nil if not even those that must
// stay have it.
func (s section) fit(widths []int, width int) []int {
	var shown []int
	for c := range s.columns {
		shown = append(shown, c)
	}
	total := func() int {
		n := -gutter
		for _, c := range shown {
			n += widths[c] + gutter
		}
		return n
	}
	for width > 0 && total() > width {
		worst := 0
		for _, c := range shown {
			worst = max(worst, s.columns[c].drop)
		}
		if worst == 0 {
			return nil
		}
		shown = slices.DeleteFunc(shown, func(c int) bool { return s.columns[c].drop == worst })
	}
	return shown
}

// list writes each row as lines of "title value".
func (s section) list(b *strings.Builder, style Style) {
	for _, r := range s.rows {
		name := r.cells[0]
		if r.limit {
			name = style.dim(name)
		}
		b.WriteString(name + "\n")
		for c, col := range s.columns[1:] {
			if v := r.cells[c+1]; v != "" {
				b.WriteString("  " + pad(col.title, 11, false) + " " + v + "\n")
			}
		}
	}
}

// remarks says what a figure can't: the path taken and why, digests, notes and
// findings; each once.
func remarks(results []Result) []string {
	var said []string
	say := func(who, what string) {
		line := printable(who + ": " + what)
		if what != "" && !slices.Contains(said, line) {
			said = append(said, line)
		}
	}
	for i := range results {
		r := &results[i]
		who := r.Link
		if slices.ContainsFunc(results, func(o Result) bool { return o.Link == r.Link && o.Path != r.Path }) {
			who = spaced(r.Kind, r.Link, sizeOf(r.Setting))
		}
		say(who, r.Path)
		for _, why := range r.Why {
			say(r.Link, "not on a better path: "+why)
		}
		if r.SHA256 != "" {
			say(r.Input, "arrived with SHA-256 "+r.SHA256)
		}
		for _, n := range r.Notes {
			say(r.Setting.String(), n)
		}
		if r.Jitter != nil {
			for _, f := range r.Jitter.Findings {
				say(f.Severity, joinSentences(f.What, f.Evidence, f.Fix))
			}
		}
	}
	return said
}

// spaced puts what isn't empty behind each other.
func spaced(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

// joinSentences puts what isn't empty behind each other.
func joinSentences(parts ...string) string {
	parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" })
	return strings.Join(parts, "; ")
}

func (s Style) bold(text string) string { return s.sgr("1", text) }
func (s Style) dim(text string) string  { return s.sgr("2", text) }

// sgr wraps text in an ECMA-48 "select graphic rendition" sequence.
func (s Style) sgr(code, text string) string {
	if !s.Colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
