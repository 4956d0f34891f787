package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
)

// The picture's measures, in pixels.
const (
	pictureWidth = 760
	nameWidth    = 150
	barsWidth    = 480
	lineHeight   = 20
)

// picture draws commands a second, one group in three processes, on a
// logarithmic scale. It holds its own styles and needs nothing else.
func picture(r *report) []byte {
	var b bytes.Buffer
	y := 30
	for _, w := range works {
		type bar struct {
			name string
			v    spread
		}
		var bars []bar
		for _, s := range systems {
			if v := r.of(row{threeProcesses, 1, w, s.name}, rate); len(v) > 0 {
				bars = append(bars, bar{s.name, spreadOf(v)})
			}
		}
		if len(bars) == 0 {
			continue
		}
		fmt.Fprintf(&b, `<text class="h" x="10" y="%d">%s</text>`+"\n", y, html.EscapeString(workNames[w]))
		y += 8
		for _, x := range bars {
			class := "o"
			if len(x.name) >= 4 && x.name[:4] == "cell" {
				class = "c"
			}
			end := at(x.v.median)
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect class="%s" x="%d" y="%d" width="%.1f" height="12"/>`, nameWidth-8, y+11, html.EscapeString(x.name), class, nameWidth, y, end-nameWidth)
			fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text x="%.1f" y="%d">%s</text>`+"\n", at(x.v.least), at(x.v.most), y+6, y+6, at(x.v.most)+6, y+11, number(x.v.median))
			y += lineHeight
		}
		y += 22
	}
	head := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">
<style>text{font:12px sans-serif;fill:#333}.h{font-weight:bold}.c{fill:#2a7de1}.o{fill:#b8bec7}line{stroke:#333}svg{background:#fff}</style>
<title>Commands a second, three processes, one group, logarithmic</title>
`, pictureWidth, y, pictureWidth, y)
	return append(append([]byte(head), b.Bytes()...), "</svg>\n"...)
}

// at is where a rate lies: from 100 to 1 M a second.
func at(v float64) float64 {
	part := (math.Log10(max(v, 100)) - 2) / 4
	return nameWidth + min(part, 1)*barsWidth
}
