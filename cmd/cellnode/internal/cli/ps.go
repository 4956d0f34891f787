package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/node/ops"
)

// newPs lists what the node runs.
func newPs(env *Env) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the cells of the node with their processes",
		Long: `Asks the node of the runtime directory for its cells, running or not.

States: asleep (started by a call), starting, ready, draining, waiting (to be
started again), failed (left alone until cellnode spawn).`,
		Example: "  cellnode ps\n  cellnode ps -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := deadline(cmd, timeout)
			defer cancel()
			n, closeNode, err := env.operate(ctx)
			if err != nil {
				return err
			}
			defer closeNode()
			list, err := n.Cells(ctx)
			if err != nil {
				return &CallError{err}
			}
			return env.Show(append([]ops.CellState{}, list.Cells...), func(w io.Writer) error { return printCells(w, list.Cells) })
		},
	}
	timeoutFlag(cmd, &timeout)
	return cmd
}

func printCells(w io.Writer, cells []ops.CellState) error {
	rows := [][]string{}
	for _, c := range cells {
		var pids []string
		oldest, memory := int64(0), int64(0)
		for _, i := range c.Instances {
			pids = append(pids, fmt.Sprint(i.PID))
			memory += i.Memory
			if oldest == 0 || i.Since < oldest {
				oldest = i.Since
			}
		}
		up := "-"
		if oldest != 0 {
			up = age(time.Now().UnixNano() - oldest)
		}
		rows = append(rows, []string{c.Name, c.State, c.Capsid, c.Version, fmt.Sprint(c.Versions), strings.Join(pids, ","), up,
			fmt.Sprintf("%.1fM", float64(memory)/(1<<20)), fmt.Sprint(c.Callers), fmt.Sprint(c.Restarts), c.Why})
	}
	return table(w, []string{"NAME", "STATE", "CAPSID", "VERSION", "VERSIONS", "PIDS", "UP", "MEMORY", "CALLERS", "RESTARTS", ""}, rows)
}

// nodeVersions returns what the node says of a cell's versions; known is false
// where no node runs, or it does not have the cell.
func nodeVersions(ctx context.Context, env *Env, name string) (all []ops.Version, known bool, err error) {
	n, closeNode, err := env.operate(ctx)
	if errors.Is(err, errNoNode) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer closeNode()
	cells, err := n.Cells(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, c := range cells.Cells {
		if c.Name == name {
			list, err := n.Versions(ctx, ops.Name{Cell: name})
			return append([]ops.Version{}, list.Versions...), true, err
		}
	}
	return nil, false, nil
}

func printVersions(w io.Writer, all []ops.Version) error {
	rows := [][]string{}
	for _, v := range all {
		current := ""
		if v.Current {
			current = "current"
		}
		used := time.Since(time.Unix(0, v.Used)).Round(time.Second).String() + " ago"
		rows = append(rows, []string{v.Name, v.State, current, fmt.Sprint(v.Callers), used, v.Why})
		for _, m := range v.Methods {
			rows = append(rows, []string{"  " + m.Name, m.Fingerprint, strings.Join(m.Accepts, " ")})
		}
	}
	return table(w, []string{"VERSION", "STATE", "", "CALLERS", "USED", ""}, rows)
}
