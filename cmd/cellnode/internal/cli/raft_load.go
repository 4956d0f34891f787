package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/node/raftnode"
)

func newRaftLoad(env *Env) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "load GROUP FILE",
		Short: "Write the keys of a backup into a store that has none",
		Long: `Writes the keys of a backup into a group of the cluster, which must be there, have a
replica here, and be empty: cellnode raft create makes one. The backup may be of a
store of any name. Keys that belonged to a lease are left out, since who held it is
gone, and revisions begin anew. When it fails half-way, remove the group, create it
again and load it again.`,
		Example: "  cellnode raft create orders\n  cellnode raft load orders orders.backup",
		Args:    cobra.ExactArgs(2),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long it may take")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel := deadline(cmd, timeout)
		defer cancel()
		f, err := os.Open(args[1])
		if err != nil {
			return err
		}
		defer f.Close()
		tmp, err := os.MkdirTemp("", "cell-load-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		did, err := raftnode.Load(ctx, env.Dir, tmp, args[0], f)
		if err != nil {
			return &CallError{err}
		}
		return env.Show(did, func(w io.Writer) error {
			text := fmt.Sprintf("%d keys of group %q at index %d are in group %q", did.Keys, did.From, did.Index, args[0])
			if did.Leased > 0 {
				text += fmt.Sprintf("; %d that had a lease were left out", did.Leased)
			}
			_, err := fmt.Fprintln(w, text)
			return err
		})
	}
	return cmd
}
