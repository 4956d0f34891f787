package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/node/ops"
)

// newDevices lists what the node has on lines and buses.
func newDevices(env *Env) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "devices",
		Short: "List the devices that the node has on serial lines and CAN buses",
		Long: `Asks the node of the runtime directory for the devices of its configuration,
whether they are connected, what they serve, and which cells they may call. They
are described and called by their names like cells.`,
		Example: "  cellnode devices\n  cellnode devices -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := deadline(cmd, timeout)
			defer cancel()
			n, closeNode, err := env.operate(ctx)
			if err != nil {
				return err
			}
			defer closeNode()
			list, err := n.Devices(ctx)
			if err != nil {
				return &CallError{err}
			}
			return env.Show(append([]ops.DeviceState{}, list.Devices...), func(w io.Writer) error { return printDevices(w, list.Devices) })
		},
	}
	timeoutFlag(cmd, &timeout)
	return cmd
}

func printDevices(w io.Writer, devices []ops.DeviceState) error {
	rows := [][]string{}
	for _, d := range devices {
		state := "absent"
		if d.Connected {
			state = "connected"
		}
		rows = append(rows, []string{d.Name, state, d.Link, d.Place, strings.Join(d.Services, " "), strings.Join(d.Reach, " "), fmt.Sprint(d.Callers), d.Why})
	}
	return table(w, []string{"NAME", "STATE", "LINK", "PLACE", "SERVES", "MAY CALL", "CALLERS", ""}, rows)
}

// deviceOf returns what the node says of a device; nil where no node runs, or it
// has no device of that name.
func deviceOf(ctx context.Context, env *Env, name string) *ops.DeviceState {
	n, closeNode, err := env.operate(ctx)
	if err != nil {
		return nil
	}
	defer closeNode()
	list, err := n.Devices(ctx)
	if err != nil {
		return nil
	}
	for i := range list.Devices {
		if list.Devices[i].Name == name {
			return &list.Devices[i]
		}
	}
	return nil
}
