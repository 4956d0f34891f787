package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/cmd/cellnode/internal/live"
	"github.com/cell-runtime/cell/node/ops"
	"github.com/cell-runtime/cell/uds"
)

// listed is one socket of the runtime directory.
type listed struct {
	Name     string   `json:"name"`
	State    string   `json:"state"` // serving, draining, dead, refused, silent
	PIDs     []int    `json:"pids,omitempty"`
	Server   string   `json:"server,omitempty"` // what it calls itself
	Links    int      `json:"links,omitempty"`
	Requests uint64   `json:"requests,omitempty"`
	UptimeNs int64    `json:"uptime_ns,omitempty"`
	Services []string `json:"services"`
	Why      string   `json:"why,omitempty"` // what kept it from answering
}

// newLs lists the cells of the runtime directory.
func newLs(env *Env) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the cells that listen on this host, and what they serve",
		Long: `Connects to every socket of the runtime directory and asks who is there.

States: serving; draining (it takes no new calls); asleep (a node's cell that does
not run: a call starts it, being listed does not); dead (the process is gone and
left its socket); refused (it does not talk to this user); silent (it did not
answer in time); remote (another node serves it, which being listed does not reach).`,
		Example: "  cellnode ls\n  cellnode ls -o json | jq -r '.[].name'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := deadline(cmd, timeout)
			defer cancel()
			cells, err := list(ctx, env.Dir)
			if err != nil {
				return err
			}
			return env.Show(cells, func(w io.Writer) error {
				rows := [][]string{}
				for _, c := range cells {
					what := strings.Join(c.Services, " ")
					if c.Why != "" {
						what = c.Why
					}
					rows = append(rows, []string{c.Name, c.State, processes(c.PIDs), orDash(c.Links), orDash(int(c.Requests)), age(c.UptimeNs), what})
				}
				return table(w, []string{"NAME", "STATE", "PIDS", "LINKS", "REQUESTS", "UP", "SERVICES"}, rows)
			})
		},
	}
	timeoutFlag(cmd, &timeout)
	return cmd
}

// list asks all sockets at once.
func list(ctx context.Context, dir string) ([]listed, error) {
	names, err := live.Names(dir)
	if err != nil {
		return nil, err
	}
	node, err := managedBy(ctx, dir)
	if err != nil {
		return nil, err
	}
	cells := make([]listed, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		if why, sleeps := node.sleeps(name); sleeps {
			cells[i] = listed{Name: name, State: "asleep", Services: []string{}, Why: why}
			continue
		}
		all.Go(func() {
			cells[i] = ask(ctx, dir, name)
			cells[i].PIDs = node.behind(name, cells[i].PIDs)
		})
	}
	all.Wait()
	return append(cells, elsewhere(dir, names)...), nil
}

// elsewhere lists what other nodes serve and nobody on this host.
func elsewhere(dir string, here []string) (cells []listed) {
	names, _ := live.RemoteNames(dir)
	for _, name := range names {
		if !slices.Contains(here, name) {
			cells = append(cells, listed{Name: name, State: "remote", Services: []string{}, Why: "on another node: cellnode discover " + name})
		}
	}
	return cells
}

// managed is what a node says of its cells; zero where none runs.
type managed struct{ ops.CellList }

// managedBy asks the node of a runtime directory.
func managedBy(ctx context.Context, dir string) (managed, error) {
	n, closeNode, err := (&Env{Dir: dir}).operate(ctx)
	if errors.Is(err, errNoNode) {
		return managed{}, nil
	}
	if err != nil {
		return managed{}, err
	}
	defer closeNode()
	list, err := n.Cells(ctx)
	return managed{list}, err
}

// cell returns what the node says of one; nil where it does not have it.
func (m managed) cell(name string) *ops.CellState {
	for i := range m.Cells {
		if m.Cells[i].Name == name {
			return &m.Cells[i]
		}
	}
	return nil
}

// sleeps reports whether a cell does not run, which being asked would start, and
// why.
func (m managed) sleeps(name string) (why string, sleeps bool) {
	c := m.cell(name)
	if c == nil || len(c.Instances) > 0 {
		return "", false
	}
	if c.Why != "" {
		return c.State + ": " + c.Why, true
	}
	return c.State, true
}

// behind returns the processes that serve a name at which one listens. The kernel
// knows that one alone, which of a node's cell is the node: it leads callers on.
func (m managed) behind(name string, listening []int) []int {
	c := m.cell(name)
	if c == nil || m.forwards(name) || !slices.Contains(listening, int(m.PID)) {
		return listening
	}
	var pids []int
	for _, i := range c.Instances {
		pids = append(pids, int(i.PID))
	}
	return pids
}

// forwards reports whether the node passes on each call of a name, of which it
// has several versions.
func (m managed) forwards(name string) bool {
	c := m.cell(name)
	return c != nil && c.Versions > 1
}

// ask asks one cell who it is. This process's own connection is not counted
// among its links.
func ask(ctx context.Context, dir, name string) listed {
	l := listed{Name: name, Services: []string{}}
	c, err := live.Dial(ctx, dir, name)
	if err != nil {
		l.State, l.Why = "silent", err.Error()
		switch {
		case errors.Is(err, uds.ErrNoListener):
			l.State, l.Why = "dead", ""
		case errors.Is(err, uds.ErrRefused):
			l.State = "refused"
		}
		return l
	}
	defer c.Close()
	l.PIDs, l.State = []int{c.Link.Peer.PID}, "serving"
	health, err := c.Conn.Health(ctx)
	if err != nil {
		l.State, l.Why = "silent", err.Error()
		return l
	}
	if !health.Serving {
		l.State = "draining"
	}
	l.Server = health.Name
	stats, err := c.Conn.ServerStats(ctx)
	if err == nil {
		l.Links, l.Requests, l.UptimeNs = max(stats.Links-1, 0), stats.Requests, stats.UptimeNs
		services, listErr := c.Conn.List(ctx)
		for _, s := range services {
			l.Services = append(l.Services, s.Name)
		}
		err = listErr
	}
	if err != nil {
		l.Why = err.Error()
	}
	return l
}

// processes are for people.
func processes(pids []int) string {
	if len(pids) == 0 {
		return "-"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(pids), " ", ","), "[]")
}

func orDash(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// age is a length of time for people.
func age(ns int64) string {
	d := time.Duration(ns)
	switch {
	case d == 0:
		return "-"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
