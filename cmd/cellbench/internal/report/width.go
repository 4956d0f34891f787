package report

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// wide are the ranges that terminals draw two columns wide: the blocks of East
// Asian Width W and F (Unicode Standard Annex 11), as whole blocks.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x115f, Stride: 1}, // Hangul initials
		{Lo: 0x2e80, Hi: 0x303e, Stride: 1}, // CJK radicals, punctuation
		{Lo: 0x3041, Hi: 0x33ff, Stride: 1}, // kana and squares
		{Lo: 0x3400, Hi: 0x4dbf, Stride: 1}, // CJK extension A
		{Lo: 0x4e00, Hi: 0x9fff, Stride: 1}, // CJK
		{Lo: 0xa000, Hi: 0xa4cf, Stride: 1}, // Yi
		{Lo: 0xac00, Hi: 0xd7a3, Stride: 1}, // Hangul
		{Lo: 0xf900, Hi: 0xfaff, Stride: 1}, // CJK compatibility
		{Lo: 0xfe30, Hi: 0xfe6f, Stride: 1}, // CJK compatibility forms
		{Lo: 0xff00, Hi: 0xff60, Stride: 1}, // fullwidth forms
		{Lo: 0xffe0, Hi: 0xffe6, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x1f300, Hi: 0x1f64f, Stride: 1}, // pictographs
		{Lo: 0x1f680, Hi: 0x1f6ff, Stride: 1},
		{Lo: 0x1f900, Hi: 0x1f9ff, Stride: 1},
		{Lo: 0x20000, Hi: 0x3fffd, Stride: 1}, // CJK extensions
	},
}

// displayWidth returns how many columns s takes in a terminal. s must be
// printable: see printable.
func displayWidth(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me): // drawn over the one before
		case unicode.Is(wide, r):
			n += 2
		default:
			n++
		}
	}
	return n
}

// printable makes text from outside safe for a terminal: a control sequence in
// a file's name must not move the cursor, and a bidirectional override must
// not reorder the line. Such characters and invalid UTF-8 become "?", line
// breaks and tabs spaces.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if r == utf8.RuneError || r != ' ' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// clip shortens s to at most width columns, the last of them an ellipsis.
func clip(s string, width int) string {
	if displayWidth(s) <= width {
		return s
	}
	used := 0
	for i, r := range s {
		w := displayWidth(string(r))
		if used+w > width-1 {
			return s[:i] + strings.Repeat("…", min(max(width, 0), 1))
		}
		used += w
	}
	return s
}

// pad fills s with spaces to width columns, on the left if right is set.
func pad(s string, width int, right bool) string {
	space := strings.Repeat(" ", max(width-displayWidth(s), 0))
	if right {
		return space + s
	}
	return s + space
}
