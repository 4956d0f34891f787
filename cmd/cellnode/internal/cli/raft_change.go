package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/consensus/cluster/admin"
)

// raftStep is a command that has a member do one thing.
type raftStep struct {
	use, short, long, example string
	args                      cobra.PositionalArgs
	flags                     func(cmd *cobra.Command)
	do                        func(ctx context.Context, m *admin.RaftClient, args []string) (admin.Done, error)
}

func (s raftStep) command(env *Env) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{Use: s.use, Short: s.short, Long: s.long, Example: s.example, Args: s.args}
	raftTimeoutFlag(cmd, &timeout)
	if s.flags != nil {
		s.flags(cmd)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return raftDo(cmd, env, timeout, func(ctx context.Context, m *admin.RaftClient) error {
			done, err := s.do(ctx, m, args)
			if err != nil {
				return err
			}
			return env.Show(append([]string{}, done.Did...), func(w io.Writer) error {
				for _, did := range done.Did {
					if _, err := fmt.Fprintln(w, did); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	return cmd
}

func newRaftCreate(env *Env) *cobra.Command {
	var replicas uint32
	return raftStep{
		use: "create GROUP", short: "Make a group: a replicated store of keys",
		long: `Makes a group on the nodes that have the fewest, and writes it into the table. Its
nodes start their replicas within seconds, and serve the store at the socket
kv.GROUP.`,
		example: "  cellnode raft create orders --replicas 3", args: cobra.ExactArgs(1),
		flags: func(cmd *cobra.Command) {
			cmd.Flags().Uint32Var(&replicas, "replicas", 0, "on how many nodes; 0 for as many as the cluster has voters")
		},
		do: func(ctx context.Context, m *admin.RaftClient, args []string) (admin.Done, error) {
			return m.Create(ctx, admin.NewGroup{Name: args[0], Replicas: replicas})
		},
	}.command(env)
}

func newRaftAdd(env *Env) *cobra.Command {
	return raftStep{
		use: "add GROUP NODE", short: "Give a node a replica of a group",
		long: `Gives a node a replica of a group beside those that there are: it catches up, and
then becomes a voter. For the group "cluster", which every node is in, it makes a
node that came later a voter.`,
		example: "  cellnode raft add orders n1-…", args: cobra.ExactArgs(2),
		do: func(ctx context.Context, m *admin.RaftClient, args []string) (admin.Done, error) {
			return m.Add(ctx, admin.Place{Group: args[0], Node: args[1]})
		},
	}.command(env)
}

func newRaftRemove(env *Env) *cobra.Command {
	var yes bool
	return raftStep{
		use: "remove GROUP [NODE]", short: "Take a node's replica of a group away, or delete a group",
		long: `Takes a node's replica of a group away; its data is deleted. With the group
"cluster" it takes the node out of the cluster: do that when it is gone for good,
after its other replicas were moved. Without NODE it deletes the group with all
that is in it, which takes --yes.`,
		example: "  cellnode raft remove cluster n1-…\n  cellnode raft remove orders --yes", args: cobra.RangeArgs(1, 2),
		flags: func(cmd *cobra.Command) { cmd.Flags().BoolVar(&yes, "yes", false, "delete the group and its data") },
		do: func(ctx context.Context, m *admin.RaftClient, args []string) (admin.Done, error) {
			p := admin.Place{Group: args[0]}
			if len(args) == 2 {
				p.Node = args[1]
			} else if !yes {
				return admin.Done{}, usagef("this deletes group %q with all that is in it: say --yes, or name a NODE", args[0])
			}
			return m.Remove(ctx, p)
		},
	}.command(env)
}

func newRaftMove(env *Env) *cobra.Command {
	return raftStep{
		use: "move GROUP FROM TO", short: "Give a node's replica of a group to another node",
		long: `The other node gets a new replica, which catches up and becomes a voter; then the
old one is removed and deleted. The group's leader does this; cellnode raft groups
shows how far it is.`,
		example: "  cellnode raft move orders n1-… n1-…", args: cobra.ExactArgs(3),
		do: func(ctx context.Context, m *admin.RaftClient, args []string) (admin.Done, error) {
			return m.Move(ctx, admin.Moving{Group: args[0], From: args[1], To: args[2]})
		},
	}.command(env)
}

func newRaftSplit(env *Env) *cobra.Command {
	return raftStep{
		use: "split GROUP KEY NEW", short: "Give the keys of a store from KEY on to a new group",
		long: `The new group has its replicas on the same nodes; raft move takes them elsewhere
afterwards. Its leader gives it the keys, in order; until it has them, calls that need
one wait. The old group tells callers who has the keys that it gave away, and clients
of Go (kv.DialStore) go there. A store in which one of those keys has a lease is left
as it was.`,
		example: "  cellnode raft split orders m orders.2", args: cobra.ExactArgs(3),
		do: func(ctx context.Context, m *admin.RaftClient, args []string) (admin.Done, error) {
			return m.Split(ctx, admin.Splitting{Group: args[0], At: []byte(args[1]), New: args[2]})
		},
	}.command(env)
}

func newRaftTransfer(env *Env) *cobra.Command {
	return raftStep{
		use: "transfer GROUP NODE", short: "Make a node the leader of a group",
		long:    `Has the leader hand over to the node's replica, which must be a voter, and waits for it.`,
		example: "  cellnode raft transfer orders n1-…", args: cobra.ExactArgs(2),
		do: func(ctx context.Context, m *admin.RaftClient, args []string) (admin.Done, error) {
			return m.Transfer(ctx, admin.Place{Group: args[0], Node: args[1]})
		},
	}.command(env)
}

func newRaftSnapshot(env *Env) *cobra.Command {
	return raftStep{
		use: "snapshot GROUP", short: "Take a snapshot of this node's replica now, and compact its log",
		long:    `Members do that by themselves after some entries; this is for before a pause, or to free room.`,
		example: "  cellnode raft snapshot orders", args: cobra.ExactArgs(1),
		do: func(ctx context.Context, m *admin.RaftClient, args []string) (admin.Done, error) {
			return m.Snapshot(ctx, admin.Place{Group: args[0]})
		},
	}.command(env)
}
