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
	"github.com/cell-runtime/cell/uds"
)

// listed is one socket of the runtime directory.
type listed struct {
	Name     string   `json:"name"`
	State    string   `json:"state"` // serving, draining, dead, refused, silent
	PID      int      `json:"pid,omitempty"`
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
					rows = append(rows, []string{c.Name, c.State, orDash(c.PID), orDash(c.Links), orDash(int(c.Requests)), age(c.UptimeNs), what})
				}
				return table(w, []string{"NAME", "STATE", "PID", "LINKS", "REQUESTS", "UP", "SERVICES"}, rows)
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
	asleep, err := sleepers(ctx, dir)
	if err != nil {
		return nil, err
	}
	cells := make([]listed, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		if why, sleeps := asleep[name]; sleeps {
			cells[i] = listed{Name: name, State: "asleep", Services: []string{}, Why: why}
			continue
		}
		all.Go(func() { cells[i] = ask(ctx, dir, name) })
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

// sleepers returns the cells of a node that do not run, which being asked would
// start, with the reason.
func sleepers(ctx context.Context, dir string) (map[string]string, error) {
	n, closeNode, err := (&Env{Dir: dir}).operate(ctx)
	if errors.Is(err, errNoNode) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer closeNode()
	list, err := n.Cells(ctx)
	if err != nil {
		return nil, err
	}
	asleep := map[string]string{}
	for _, c := range list.Cells {
		if len(c.Instances) == 0 {
			asleep[c.Name] = c.State
			if c.Why != "" {
				asleep[c.Name] += ": " + c.Why
			}
		}
	}
	return asleep, nil
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
	l.PID, l.State = c.Link.Peer.PID, "serving"
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
