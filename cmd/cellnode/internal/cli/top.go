package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/spf13/cobra"
)

// topKeys documents the keys of top: for help, and for the screen.
var topKeys = []struct{ keys, what string }{
	{"1 2 3 4 5, tab", "methods, clients, engines, cells, everything"},
	{"↑ ↓ j k PgUp PgDn Home End", "scroll"},
	{"s", "sort by the next column; S turns the order round"},
	{"/", "show only lines that contain a text; Enter keeps it, Esc drops it"},
	{"p, space", "pause, and go on"},
	{"+ -", "look more often, less often"},
	{"?", "this help"},
	{"q, Esc, ctrl-C", "leave"},
}

// newTop watches metrics in a terminal.
func newTop(env *Env) *cobra.Command {
	every := time.Second
	keys := ""
	for _, k := range topKeys {
		keys += fmt.Sprintf("\n  %-28s%s", k.keys, k.what)
	}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch methods, engines, latencies and stalls in the terminal",
		Long: `Reads the metrics files of the runtime directory once a second, as cellnode stat
does, and shows what happened since the look before. The processes don't notice.

Keys:` + keys,
		Example: "  cellnode top\n  cellnode top --every 200ms",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < minEvery || every > maxEvery {
				return usagef("--every is %v to %v", minEvery, maxEvery)
			}
			if env.JSON() {
				return usagef("top is for people; cellnode stat --json has the same data")
			}
			if !person(env.Out) {
				return fmt.Errorf("standard output is no terminal; cellnode stat has the same data as text")
			}
			screen, err := tcell.NewScreen()
			if err != nil {
				return fmt.Errorf("the terminal can't be used: %w; is TERM set?", err)
			}
			return watchScreen(cmd.Context(), env, screen, every)
		},
	}
	cmd.Flags().DurationVar(&every, "every", every, "how often to look")
	return cmd
}

// Bounds of how often top looks.
const (
	minEvery = 100 * time.Millisecond
	maxEvery = time.Minute
)

// watchScreen runs top on a screen, which it closes, until a key or ctx says
// that it is over.
func watchScreen(ctx context.Context, env *Env, screen tcell.Screen, every time.Duration) error {
	w, err := newWatch(env.Dir)
	if err != nil {
		return err
	}
	defer w.close()
	if err := screen.Init(); err != nil {
		return fmt.Errorf("the terminal can't be used: %w", err)
	}
	defer screen.Fini()
	events, quit := make(chan tcell.Event, 16), make(chan struct{})
	defer close(quit)
	go screen.ChannelEvents(events, quit)
	v := &topView{dir: w.dir, every: every}
	v.see(w.look())
	v.begin()
	for {
		v.draw(screen)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(v.every):
			if !v.paused {
				v.see(w.look())
			}
		case e := <-events:
			if key, ok := e.(*tcell.EventKey); ok && v.press(key) {
				return nil
			}
			if _, ok := e.(*tcell.EventResize); ok {
				screen.Sync()
			}
		}
	}
}

// draw shows the view on a screen.
func (v *topView) draw(screen tcell.Screen) {
	width, height := screen.Size()
	screen.Clear()
	for y, line := range v.render(width, height) {
		style := tcell.StyleDefault
		switch line.look {
		case lookTitle:
			style = style.Bold(true)
		case lookHead:
			style = style.Reverse(true)
			line.text += strings.Repeat(" ", max(0, width-len([]rune(line.text))))
		case lookFaint:
			style = style.Dim(true)
		case lookBad:
			style = style.Foreground(tcell.ColorRed).Bold(true)
		}
		x := 0
		for _, r := range line.text {
			screen.SetContent(x, y, r, nil, style)
			x++
		}
	}
	screen.Show()
}
