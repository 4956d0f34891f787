package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gdamore/tcell/v2"
)

// look is how a line of the screen looks.
type look uint8

const (
	lookPlain look = iota
	lookTitle
	lookHead
	lookFaint
	lookBad
)

// screenLine is one line of the screen.
type screenLine struct {
	text string
	look look
}

// topView is what top shows: pure state, apart from any terminal.
type topView struct {
	dir    string
	every  time.Duration
	paused bool
	help   bool

	page     int
	from     int // first row shown
	rows     int // how many there are room for, as of the last render
	sort     int // column
	reverse  bool
	filter   string
	typing   bool // the filter is being typed
	problem  error
	all      []instrument
	when     time.Time
	lookedAt int // how many looks there were
}

// see takes what a look found.
func (v *topView) see(all []instrument, err error) {
	v.all, v.problem, v.when = all, err, time.Now()
	v.lookedAt++
}

// press obeys a key; true means that it is over.
func (v *topView) press(key *tcell.EventKey) (over bool) {
	if v.typing {
		v.edit(key)
		return false
	}
	switch key.Key() {
	case tcell.KeyCtrlC:
		return true
	case tcell.KeyEscape:
		if v.help {
			v.help = false
			return false
		}
		return true
	case tcell.KeyTab:
		v.turn((v.page + 1) % len(topPages))
	case tcell.KeyUp:
		v.from--
	case tcell.KeyDown:
		v.from++
	case tcell.KeyPgUp:
		v.from -= max(v.rows, 1)
	case tcell.KeyPgDn:
		v.from += max(v.rows, 1)
	case tcell.KeyHome:
		v.from = 0
	case tcell.KeyEnd:
		v.from = len(v.all)
	case tcell.KeyRune:
		return v.letter(key.Rune())
	}
	return false
}

func (v *topView) letter(r rune) (over bool) {
	switch r {
	case 'q':
		return true
	case '?', 'h':
		v.help = !v.help
	case 'p', ' ':
		v.paused = !v.paused
	case 'k':
		v.from--
	case 'j':
		v.from++
	case 's':
		v.sort = (v.sort + 1) % len(topPages[v.page].columns)
	case 'S':
		v.reverse = !v.reverse
	case '/':
		v.typing, v.filter = true, ""
	case '+':
		v.every = max(v.every/2, minEvery)
	case '-':
		v.every = min(v.every*2, maxEvery)
	default:
		if n := int(r - '1'); n >= 0 && n < len(topPages) {
			v.turn(n)
		}
	}
	return false
}

// turn shows another page.
func (v *topView) turn(page int) {
	v.page, v.from, v.sort, v.reverse, v.help = page, 0, topPages[page].sort, false, false
}

// begin turns to the first page that shows anything: cells in sandboxes show
// no methods, and the node shows its cells.
func (v *topView) begin() {
	page := slices.IndexFunc(topPages, func(p topPage) bool { return len(p.rows(v.all)) > 0 })
	v.turn(max(page, 0))
}

// edit changes the filter.
func (v *topView) edit(key *tcell.EventKey) {
	switch key.Key() {
	case tcell.KeyEnter:
		v.typing = false
	case tcell.KeyEscape, tcell.KeyCtrlC:
		v.typing, v.filter = false, ""
	case tcell.KeyBackspace, tcell.KeyBackspace2:
		if r := []rune(v.filter); len(r) > 0 {
			v.filter = string(r[:len(r)-1])
		}
	case tcell.KeyRune:
		if len(v.filter) < 64 {
			v.filter += string(key.Rune())
		}
	}
}

// render returns the lines of a screen of that size.
func (v *topView) render(width, height int) []screenLine {
	state := fmt.Sprintf("every %v", v.every)
	if v.paused {
		state = "PAUSED"
	}
	tabs := ""
	for i, p := range topPages {
		mark := " "
		if i == v.page {
			mark = "*"
		}
		tabs += fmt.Sprintf(" %s%d %s ", mark, i+1, p.name)
	}
	lines := []screenLine{
		{fmt.Sprintf("cellnode top  %s  %s  %s  %d instruments", v.when.Format(time.TimeOnly), state, v.dir, len(v.all)), lookTitle},
		{tabs, lookPlain},
	}
	if v.help {
		for _, k := range topKeys {
			lines = append(lines, screenLine{fmt.Sprintf("  %-30s %s", k.keys, k.what), lookPlain})
		}
		return fit(lines, width, height)
	}
	lines = append(lines, v.table(height-len(lines)-1)...)
	bottom := screenLine{"? keys  q leave", lookFaint}
	switch {
	case v.typing:
		bottom = screenLine{"only lines with: " + v.filter + "_", lookTitle}
	case v.problem != nil:
		bottom = screenLine{strings.ReplaceAll(v.problem.Error(), "\n", "; "), lookBad}
	case v.filter != "":
		bottom = screenLine{"only lines with: " + v.filter + "   ? keys  q leave", lookFaint}
	}
	for len(lines) < height-1 {
		lines = append(lines, screenLine{})
	}
	return fit(append(lines, bottom), width, height)
}

// table returns the table of the page, in at most height lines.
func (v *topView) table(height int) []screenLine {
	page := topPages[v.page]
	rows := page.rows(v.all)
	rows = slices.DeleteFunc(rows, func(r topRow) bool { return !strings.Contains(strings.Join(r.cells, " "), v.filter) })
	slices.SortStableFunc(rows, func(a, b topRow) int {
		c := cmp.Compare(b.keys[v.sort], a.keys[v.sort]) // busy first
		if c == 0 {
			c = strings.Compare(a.cells[v.sort], b.cells[v.sort])
		}
		if v.reverse {
			return -c
		}
		return c
	})
	v.rows = max(height-1, 1)
	v.from = max(min(v.from, len(rows)-v.rows), 0)
	shown := rows[v.from:min(v.from+v.rows, len(rows))]
	text := [][]string{slices.Clone(page.columns)}
	order := "▼"
	if v.reverse {
		order = "▲"
	}
	text[0][v.sort] += order
	for _, r := range shown {
		text = append(text, r.cells)
	}
	var lines []screenLine
	for i, line := range columns(text) {
		l := screenLine{line, lookPlain}
		switch {
		case i == 0:
			l.look = lookHead
		case shown[i-1].bad:
			l.look = lookBad
		}
		lines = append(lines, l)
	}
	if len(rows) == 0 {
		lines = append(lines, screenLine{"  nothing to show: " + page.empty, lookFaint})
	}
	return lines
}

// columns aligns cells: the first column to the left, the others to the right
// where they begin with a digit.
func columns(rows [][]string) (lines []string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-len([]rune(cell)))
			if cell != "" && (cell[0] >= '0' && cell[0] <= '9' || cell == "-") {
				line += pad + cell + "  "
			} else {
				line += cell + pad + "  "
			}
		}
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return lines
}

// fit cuts lines to a screen.
func fit(lines []screenLine, width, height int) []screenLine {
	lines = lines[:min(len(lines), max(height, 0))]
	for i := range lines {
		if r := []rune(lines[i].text); len(r) > width {
			lines[i].text = string(r[:max(width, 0)])
		}
	}
	return lines
}
