package report

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"strings"
)

// Pictures draws the report, by file name. Every file is self-contained.
func Pictures(r *Report) map[string][]byte {
	files := map[string][]byte{}
	for _, state := range r.states() {
		t, where := Summarise(r, state), ""
		if len(r.states()) > 1 {
			where = fmt.Sprintf(", cores %s", state)
		}
		var times, rates []panel
		for _, s := range r.Settings.Sizes {
			times = append(times, timesPanel(r, t, s))
			rates = append(rates, ratesPanel(r, t, s))
		}
		if b := draw("Round trips, p50 (line: to p99), logarithmic"+where, times); b != nil {
			files[r.file(state, "rtt")] = b
		}
		if b := draw("Streams one way, median of the rounds (line: least to greatest)"+where, rates); b != nil {
			files[r.file(state, "streams")] = b
		}
	}
	return files
}

// panel is one group of bars with a scale of its own.
type panel struct {
	title string
	log   bool
	bars  []bar
}

// bar is one peer's value with a line from low to high.
type bar struct {
	name             string
	value, low, high float64
	text             string
	class            string // of its colour
}

// class colours Cell, the limit, and the others.
func class(p *Peer) string {
	switch {
	case strings.HasPrefix(p.Name, "cell-"):
		return "cell"
	case p.Family == "limit":
		return "limit"
	}
	return "peer"
}

func timesPanel(r *Report, t Table, size int) panel {
	p := panel{title: FormatSize(size), log: true}
	for i := range r.Peers {
		if f := t.Get(r.Peers[i].Name, "rtt", size, Pinned); f != nil {
			p.bars = append(p.bars, bar{f.Peer, f.P50.Median, f.P50.Median, f.P99.Median,
				formatNanos(f.P50.Median), class(&r.Peers[i])})
		}
	}
	return p
}

// ratesPanel shows messages where they are small, on a scale of powers because
// they differ by three, and bytes where they are large.
func ratesPanel(r *Report, t Table, size int) panel {
	small := size <= messageSize
	p := panel{title: FormatSize(size) + ", bytes a second", log: small}
	if small {
		p.title = FormatSize(size) + ", messages a second, logarithmic"
	}
	for i := range r.Peers {
		f := t.Get(r.Peers[i].Name, "stream", size, Pinned)
		if f == nil {
			continue
		}
		s, format := f.Bytes, formatBytes
		if small {
			s, format = f.Rate, formatRate
		}
		p.bars = append(p.bars, bar{f.Peer, s.Median, s.Min, s.Max, format(s.Median), class(&r.Peers[i])})
	}
	return p
}

// Measures of a picture, in pixels.
const (
	width     = 860
	barsLeft  = 180
	barsRight = width - 110
	barStep   = 22
	barHeight = 14
	headRoom  = 40
	panelRoom = 34
)

const style = `<style>
text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-size:15px;font-weight:600}.h{font-weight:600}
.peer{fill:#8c959f}.cell{fill:#0969da}.limit{fill:#d4a72c}.w{stroke:#24292f;stroke-width:1.2}.g{stroke:#d0d7de}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.w{stroke:#e6edf3}.g{stroke:#30363d}.peer{fill:#6e7681}.cell{fill:#58a6ff}}
</style>`

// draw returns the picture, nil if there is nothing in it.
func draw(title string, panels []panel) []byte {
	var body bytes.Buffer
	y := headRoom
	for i := range panels {
		if len(panels[i].bars) > 0 {
			y = panels[i].draw(&body, y)
		}
	}
	if body.Len() == 0 {
		return nil
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n%s\n",
		width, y, width, y, html.EscapeString(title), style)
	fmt.Fprintf(&b, `<text class="t" x="10" y="22">%s</text>`+"\n", html.EscapeString(title))
	b.Write(body.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// scale maps values to positions.
type scale struct {
	log      bool
	from, to float64
}

func newScale(p *panel) scale {
	s := scale{log: p.log, to: 0, from: math.Inf(1)}
	for _, b := range p.bars {
		s.to = max(s.to, b.high, b.value)
		s.from = min(s.from, b.low, b.value)
	}
	if !s.log {
		s.from = 0
		return s
	}
	s.from = math.Pow(10, math.Floor(math.Log10(s.from)))
	s.to = math.Pow(10, math.Ceil(math.Log10(s.to*1.001)))
	return s
}

func (s scale) at(v float64) float64 {
	part := (v - s.from) / (s.to - s.from)
	if s.log {
		part = math.Log10(v/s.from) / math.Log10(s.to/s.from)
	}
	return barsLeft + min(max(part, 0), 1)*(barsRight-barsLeft)
}

// draw writes the panel from y on and returns where it ends.
func (p *panel) draw(b *bytes.Buffer, y int) int {
	s := newScale(p)
	fmt.Fprintf(b, `<text class="h" x="10" y="%d">%s</text>`+"\n", y+14, html.EscapeString(p.title))
	top := y + 22
	bottom := top + barStep*len(p.bars)
	if s.log {
		for v := s.from; v <= s.to*1.001; v *= 10 {
			fmt.Fprintf(b, `<line class="g" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`+"\n", s.at(v), s.at(v), top-2, bottom)
		}
	}
	for i, x := range p.bars {
		row := top + i*barStep
		middle := row + barHeight/2
		end := s.at(x.value)
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, barsLeft-8, row+11, html.EscapeString(x.name))
		fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d"/>`, x.class, barsLeft, row, max(end-barsLeft, 1), barHeight)
		fmt.Fprintf(b, `<line class="w" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, s.at(x.low), s.at(x.high), middle, middle)
		fmt.Fprintf(b, `<text x="%.1f" y="%d">%s</text>`+"\n", max(end, s.at(x.high))+6, row+11, html.EscapeString(x.text))
	}
	return bottom + panelRoom - 22
}
