package report

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// StyleFor returns what suits f: a terminal's width and, unless NO_COLOR
// (no-color.org) is set or TERM is "dumb", colour; nothing special for files
// and pipes.
func StyleFor(f *os.File) Style {
	width, ok := terminalWidth(f)
	if !ok {
		return Style{}
	}
	return Style{Width: width, Colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// terminalWidth returns the columns of f, 0 if it doesn't know them, and false
// if f is no terminal.
func terminalWidth(f *os.File) (int, bool) {
	if f == nil {
		return 0, false
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, false
	}
	var size *unix.Winsize
	if e := raw.Control(func(fd uintptr) { size, err = unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ) }); e != nil || err != nil {
		return 0, false
	}
	return int(size.Col), true
}

// Progress shows one line that is redrawn in place on a terminal, and nothing
// anywhere else. Its methods may be called from any goroutine, and on nil.
type Progress struct {
	mu    sync.Mutex
	w     io.Writer
	width int
	drawn bool
}

// NewProgress returns a Progress on f, normally os.Stderr; nil, which is
// silent, if f is no terminal or TERM is "dumb".
func NewProgress(f *os.File) *Progress {
	width, ok := terminalWidth(f)
	if !ok || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return newProgress(f, width)
}

func newProgress(w io.Writer, width int) *Progress {
	if width <= 0 {
		width = 80
	}
	return &Progress{w: w, width: width}
}

// Show replaces the line: "3/12  rtt ring 64 B".
func (p *Progress) Show(done, total int, what string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	line := fmt.Sprintf("%*d/%d  %s", len(fmt.Sprint(total)), done, total, printable(what))
	// One column is left free: some terminals wrap when the last one is hit.
	line = clip(line, p.width-1)
	fmt.Fprint(p.w, "\r"+line+strings.Repeat(" ", max(p.width-1-displayWidth(line), 0))+"\r")
	p.drawn = true
}

// Clear removes the line, for other output or at the end.
func (p *Progress) Clear() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprint(p.w, "\r"+strings.Repeat(" ", p.width-1)+"\r")
		p.drawn = false
	}
}
