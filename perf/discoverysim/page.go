package main

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// page is the report in Markdown.
func page(all []*result) string {
	var b strings.Builder
	b.WriteString(`# Finding each other, simulated

By ` + "`go run ./perf/discoverysim -nodes NODES -span SPAN -trials TRIALS -seed SEED`" + `, on one thread of any host.

The protocol's own code on a simulated network and clock: datagrams take 50 to 500 µs, some of them are lost, at each receiver by itself, clocks are apart by 5 ms, each node has three services. All nodes start within 100 ms; then, several times, one joins and one is killed; then they are watched for the span. Times are of the simulated clock, and the same on any host. Bytes count the headers of Ethernet, IP and UDP.

| nodes | lost | all know all, after the last start | a new node is known: p50 | p99 | to all | it knows all: p50 | most | a dead one is gone: p50 | p99 | everywhere | of joins and deaths, each | received, B/s a node | B/s a node and peer | sent, B/s a node | false deaths |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
`)
	for _, r := range all {
		fmt.Fprintf(&b, "| %d | %g %% | %s | %s | %s | %s | %s | %s | %s | %s | %s | %d | %.0f | %.1f | %.0f | %d in %v |\n", r.Nodes, r.Loss*100, ms(r.All),
			ms(r.Known.P50), ms(r.Known.P99), ms(r.Known.Most), ms(r.Knows.P50), ms(r.Knows.Most),
			ms(r.Gone.P50), ms(r.Gone.P99), gone(r), r.Trials, r.Steady.Received, r.Steady.PerPeer, r.Steady.Sent, r.FalseDeaths, r.Span)
	}
	b.WriteString("\n![times and traffic](discovery.svg)\n")
	return b.String()
}

func ms(d time.Duration) string {
	if d < 100*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

func gone(r *result) string {
	if r.Missed > 0 {
		return fmt.Sprintf("%d never", r.Missed)
	}
	return ms(r.Gone.Most)
}

// series is one line of the plot.
type series struct {
	name, color string
	of          func(*result) float64
}

var lines = []series{
	{"a new node known to all, s", "#1b6ca8", func(r *result) float64 { return r.Known.Most.Seconds() }},
	{"it knows all, s", "#2a9d5c", func(r *result) float64 { return r.Knows.Most.Seconds() }},
	{"a dead one gone everywhere, s", "#b03a2e", func(r *result) float64 { return r.Gone.Most.Seconds() }},
	{"received, kB/s a node", "#8e6bbf", func(r *result) float64 { return r.Steady.Received / 1000 }},
	{"received, kB/s a node and peer", "#c98a1b", func(r *result) float64 { return r.Steady.PerPeer / 1000 }},
}

// The plot's area, and what it shows: both axes logarithmic, 1 to 10^5 nodes and
// 10^-4 to 10^2.
const (
	left, top, width, height = 60.0, 20.0, 520.0, 360.0
	fromX, toX               = 0.0, 5.0
	fromY, toY               = -4.0, 2.0
)

func atX(v float64) float64 { return left + width*(math.Log10(v)-fromX)/(toX-fromX) }
func atY(v float64) float64 {
	return top + height*(toY-math.Log10(max(v, 1e-4)))/(toY-fromY)
}

// plot draws the results.
func plot(all []*result) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 840 430" font-family="sans-serif" font-size="12">`+"\n"+`<rect width="840" height="430" fill="white"/>`+"\n")
	for e := fromX; e <= toX; e++ {
		x := atX(math.Pow(10, e))
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/><text x="%.1f" y="%.1f" text-anchor="middle">%.0f</text>`+"\n", x, top, x, top+height, x, top+height+16, math.Pow(10, e))
	}
	for e := fromY; e <= toY; e++ {
		y := atY(math.Pow(10, e))
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/><text x="%.1f" y="%.1f" text-anchor="end">%g</text>`+"\n", left, y, left+width, y, left-6, y+4, math.Pow(10, e))
	}
	fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle">nodes</text>`+"\n", left+width/2, top+height+36)
	for i, s := range lines {
		var points []string
		for _, r := range all {
			x, y := atX(float64(r.Nodes)), atY(s.of(r))
			points = append(points, fmt.Sprintf("%.1f,%.1f", x, y))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x, y, s.color)
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", strings.Join(points, " "), s.color)
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" fill="%s">%s</text>`+"\n", left+width+12, top+16+18*float64(i), s.color, s.name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}
