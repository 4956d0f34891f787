package report

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func table(t *testing.T, results []Result, style Style) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteTable(&b, results, style); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTableLooksAsItShould(t *testing.T) {
	rep := fixtureReport(t)
	var b strings.Builder
	for _, width := range []int{0, 80, 40} {
		fmt.Fprintf(&b, "── width %d ──\n%s\n", width, table(t, rep.Results, Style{Width: width}))
	}
	golden(t, "table.txt", []byte(b.String()))
}

func TestTableFitsTheTerminal(t *testing.T) {
	for _, s := range sections(fixtureReport(t).Results) {
		for width := 45; width < 200; width++ {
			var b strings.Builder
			s.write(&b, Style{Width: width})
			for line := range strings.Lines(b.String()) {
				// In the last resort, a list, the words of a verdict may wrap.
				if n := displayWidth(strings.TrimSuffix(line, "\n")); n > width && !strings.Contains(line, inWords) {
					t.Errorf("%s at width %d: a line of %d: %s", s.kind, width, n, line)
				}
			}
		}
	}
}

func TestTableColumnsAlign(t *testing.T) {
	results := []Result{
		{Setting: Setting{Kind: "stream", Link: "ring"}, Figures: Figures{MsgsPerS: new(1e6)}},
		{Setting: Setting{Kind: "stream", Link: "ñandú環"}, Figures: Figures{MsgsPerS: new(123e6)}},
	}
	lines := strings.Split(strings.TrimSpace(table(t, results, Style{})), "\n")[1:]
	for _, l := range lines {
		if displayWidth(l) != displayWidth(lines[0]) {
			t.Errorf("%q is not as wide as %q", l, lines[0])
		}
	}
}

func TestColourOnlyWhereAsked(t *testing.T) {
	rep := fixtureReport(t)
	if s := table(t, rep.Results, Style{Width: 80}); strings.Contains(s, "\x1b") {
		t.Error("escape sequences without colour")
	}
	if s := table(t, rep.Results, Style{Colour: true}); !strings.Contains(s, "\x1b[1m") {
		t.Error("no escape sequences with colour")
	}
}

func TestTableDisarmsWhatComesFromOutside(t *testing.T) {
	const hostile = "x\x1b]0;owned\x07\x1b[2J\u202e\x9b31m\xff\r\n"
	rep := fixtureReport(t)
	for i := range rep.Results {
		r := &rep.Results[i]
		h := *r.Host
		h.CPU, h.Kernel, h.Governor = hostile, hostile, hostile
		r.Host, r.Kind, r.Link, r.Wait, r.Path, r.Input, r.SHA256 = &h, hostile, hostile, hostile, hostile, hostile, hostile
		r.Notes, r.Why = []string{hostile}, []string{hostile}
	}
	c, err := Compare(rep.Results, rep.Results, true)
	if err != nil {
		t.Fatal(err)
	}
	var compared bytes.Buffer
	if err := c.WriteText(&compared, Style{}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{table(t, rep.Results, Style{}), table(t, rep.Results, Style{Width: 30}), compared.String()} {
		if strings.ContainsAny(s, "\x1b\x07\r\u009b\u202e") {
			t.Errorf("control characters reach the terminal: %q", s)
		}
	}
}

func TestStyleOfATerminal(t *testing.T) {
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminal to be had: %v", err)
	}
	defer f.Close()
	if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 93, Row: 20}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		noColour, term string
		want           Style
	}{
		{"", "xterm", Style{93, true}},
		{"1", "xterm", Style{93, false}},
		{"", "dumb", Style{93, false}},
	} {
		t.Setenv("NO_COLOR", c.noColour)
		t.Setenv("TERM", c.term)
		if got := StyleFor(f); got != c.want {
			t.Errorf("NO_COLOR=%q TERM=%q: got %+v, want %+v", c.noColour, c.term, got, c.want)
		}
	}
	if p := NewProgress(f); p != nil {
		t.Error("progress on a dumb terminal")
	}
	t.Setenv("TERM", "xterm")
	if p := NewProgress(f); p == nil || p.width != 93 {
		t.Errorf("no progress on a terminal: %+v", p)
	}
}

func TestNoTerminalNoProgress(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for name, f := range map[string]*os.File{"a pipe": w, "nothing": nil} {
		p := NewProgress(f)
		if p != nil || StyleFor(f) != (Style{}) {
			t.Errorf("%s is taken for a terminal", name)
		}
		p.Show(1, 2, "silent")
		p.Clear()
	}
}

func TestProgressStaysOnItsLine(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b, 20)
	p.Clear() // nothing is drawn yet
	p.Show(3, 12, "a much longer text than fits\n\x1b[2J")
	p.Show(12, 12, "short")
	p.Clear()
	p.Clear()
	want := "\r" + " 3/12  a much long…" + "\r" +
		"\r" + "12/12  short       " + "\r" +
		"\r" + strings.Repeat(" ", 19) + "\r"
	if got := b.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDisplayWidth(t *testing.T) {
	for s, want := range map[string]int{
		"": 0, "ring": 4, "1.05 µs": 7, "×": 1, "環": 2, "e\u0301": 1, "🚀": 2, "한글": 4,
	} {
		if got := displayWidth(s); got != want {
			t.Errorf("%q is %d wide, want %d", s, got, want)
		}
	}
	for _, c := range []struct {
		in    string
		width int
		want  string
	}{{"ring", 4, "ring"}, {"rings", 4, "rin…"}, {"環環環", 4, "環…"}, {"x", 0, ""}, {"xy", 1, "…"}} {
		if got := clip(c.in, c.width); got != c.want {
			t.Errorf("%q in %d is %q, want %q", c.in, c.width, got, c.want)
		}
	}
}

func TestFormats(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{FormatNS(0), "0 ns"},
		{FormatNS(0.25), "0.25 ns"},
		{FormatNS(112), "112 ns"},
		{FormatNS(112.4), "112 ns"},
		{FormatNS(999.4), "999 ns"},
		{FormatNS(999.6), "1.00 µs"},
		{FormatNS(9412), "9.41 µs"},
		{FormatNS(1.2e6), "1.20 ms"},
		{FormatNS(61e9), "61.0 s"},
		{FormatNS(86400e9), "86400 s"},
		{FormatMsgs(183.4e6), "183 M/s"},
		{FormatMsgs(50_000), "50.0 K/s"},
		{FormatMsgs(7), "7/s"},
		{FormatBytes(47.23e9), "47.2 GB/s"},
		{FormatSize(64), "64 B"},
		{FormatSize(1024), "1 KiB"},
		{FormatSize(1500), "1500 B"},
		{FormatSize(1 << 30), "1 GiB"},
		{formatRatio(1.049), "1.05×"},
		{formatRatio(497.3), "497×"},
		{formatPercent(0.0104), "1.0 %"},
		{formatPercent(0.86), "86 %"},
		{formatPercent(-0.021), "-2.1 %"},
		{tickNS(50_000), "50 µs"},
		{tickNS(0.5), "0.50 ns"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// Several paths of one link are told apart by what took them.
func TestRemarksTellPathsApart(t *testing.T) {
	results := []Result{
		{Setting: Setting{Kind: KindRTT, Link: "ring", Size: 64}, Path: "memory, 64 KiB"},
		{Setting: Setting{Kind: KindStream, Link: "ring", Size: 1024}, Path: "memory, 8 MiB"},
		{Setting: Setting{Kind: KindStream, Link: "uds", Size: 64}, Path: "socket"},
		{Setting: Setting{Kind: KindStream, Link: "uds", Size: 1024}, Path: "socket"},
	}
	got := strings.Join(remarks(results), "\n")
	want := "rtt ring 64 B: memory, 64 KiB\nstream ring 1 KiB: memory, 8 MiB\nuds: socket"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
