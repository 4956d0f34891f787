package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/consensus/cluster/admin"
	"github.com/cell-runtime/cell/consensus/supervise"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/raftnode"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// errNoMember: no member of a cluster runs in the runtime directory.
var errNoMember = errors.New("no member of a cluster runs here; start one with cellnode run --raft ADDRESS")

func newRaft(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "raft",
		Short: "Look after the state that the nodes of a cluster agree on",
		Long: `Asks this node's member of a cluster, and tells it what to change. The cluster's
tables are the store at the socket kv.cluster: cellnode call kv.cluster.KV.Range.`,
		Example: "  cellnode raft status\n  cellnode raft create orders",
	}
	cmd.AddCommand(newRaftStatus(env), newRaftGroups(env), newRaftVersions(env), newRaftCreate(env), newRaftAdd(env), newRaftRemove(env), newRaftMove(env), newRaftSplit(env),
		newRaftTransfer(env), newRaftSnapshot(env), newRaftBackup(env), newRaftRestore(env), newRaftLoad(env), newRaftCheck(env), newRaftMember(env))
	return cmd
}

// askRaft connects to the member of the runtime directory.
func (e *Env) askRaft(ctx context.Context) (*admin.RaftClient, func() error, error) {
	conn, err := rpc.Connect(ctx, func(ctx context.Context) (link.Link, error) {
		return uds.Dial(ctx, raftnode.AdminName, &uds.Options{Dir: e.Dir})
	}, &rpc.ConnOptions{Wait: rpc.WaitPark, Name: "cellnode"})
	if errors.Is(err, uds.ErrNoListener) {
		return nil, nil, errNoMember
	}
	if err != nil {
		return nil, nil, err
	}
	return admin.NewRaftClient(conn), conn.Close, nil
}

// raftTimeout is how long a member may take: it may have to wait for a leader.
const raftTimeout = 20 * time.Second

// raftDo runs f with the member, within a time.
func raftDo(cmd *cobra.Command, env *Env, timeout time.Duration, f func(ctx context.Context, m *admin.RaftClient) error) error {
	ctx, cancel := deadline(cmd, timeout)
	defer cancel()
	m, closeMember, err := env.askRaft(ctx)
	if err != nil {
		return err
	}
	defer closeMember()
	if err := f(ctx, m); err != nil {
		return &CallError{err}
	}
	return nil
}

func raftTimeoutFlag(cmd *cobra.Command, timeout *time.Duration) {
	cmd.Flags().DurationVar(timeout, "timeout", raftTimeout, "how long to wait for the member")
}

func newRaftStatus(env *Env) *cobra.Command {
	var timeout, wait time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether this node is in a cluster, and list the nodes of it",
		Long: `Says whether this node is in a cluster, and for what it waits if it isn't, and
lists the nodes. A node that has not answered lately is silent. With --wait it
returns when there is a cluster, or fails when the time is over.`,
		Example: "  cellnode raft status\n  cellnode raft status --wait 30s",
		Args:    cobra.NoArgs,
	}
	raftTimeoutFlag(cmd, &timeout)
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait so long for the cluster to be formed")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		until := time.Now().Add(wait)
		for {
			var c admin.Cluster
			err := raftDo(cmd, env, timeout, func(ctx context.Context, m *admin.RaftClient) (err error) {
				c, err = m.Status(ctx)
				return err
			})
			if (err != nil || !c.Formed || len(c.Nodes) == 0) && time.Now().Before(until) && cmd.Context().Err() == nil {
				time.Sleep(200 * time.Millisecond)
				continue
			}
			if err != nil {
				return err
			}
			c.Nodes = append([]admin.Node{}, c.Nodes...)
			if err := env.Show(cluster(c), func(w io.Writer) error { return printCluster(w, &c) }); err != nil {
				return err
			}
			if wait > 0 && !c.Formed {
				return fmt.Errorf("there is no cluster after %v", wait)
			}
			return nil
		}
	}
	return cmd
}

// cluster is an admin.Cluster for programs, see standing.
type cluster admin.Cluster

func printCluster(w io.Writer, c *admin.Cluster) error {
	state := "in no cluster: " + c.Waits
	if c.Formed {
		state = "in cluster " + c.Cluster
		if c.Waits != "" {
			state += ", " + c.Waits
		}
	}
	fmt.Fprintf(w, "node %s at %s, %s\n", shortNode(c.Node), c.Addr, state)
	rows := [][]string{}
	for _, n := range c.Nodes {
		alive := "answers"
		if !n.Alive {
			alive = "silent"
		}
		rows = append(rows, []string{n.Node, n.Addr, strconv.FormatUint(n.Replica, 10), alive, strconv.FormatUint(uint64(n.Groups), 10)})
	}
	if len(rows) == 0 {
		return nil
	}
	return table(w, []string{"NODE", "ADDRESS", "REPLICA", "STATE", "GROUPS"}, rows)
}

// shortNode is an id as people tell nodes apart.
func shortNode(id string) string { return id[:min(len(id), 16)] }

func newRaftGroups(env *Env) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "groups",
		Short: "List the groups of the cluster with their members and leaders",
		Long: `Lists the groups of the table, and what the replicas that run here know: the leader,
the term, how far the log was applied, and the members with their roles.`,
		Example: "  cellnode raft groups\n  cellnode raft groups -o json | jq -r '.[].name'",
		Args:    cobra.NoArgs,
	}
	raftTimeoutFlag(cmd, &timeout)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return raftDo(cmd, env, timeout, func(ctx context.Context, m *admin.RaftClient) error {
			list, err := m.Groups(ctx)
			if err != nil {
				return err
			}
			return env.Show(append([]admin.Group{}, list.Groups...), func(w io.Writer) error { return printGroups(w, list.Groups) })
		})
	}
	return cmd
}

func printGroups(w io.Writer, groups []admin.Group) error {
	rows := [][]string{}
	for _, g := range groups {
		leader, seats := "-", []string{}
		for _, s := range g.Seats {
			seats = append(seats, fmt.Sprintf("%d %s %s", s.Replica, shortNode(s.Node), s.Role))
			if s.Replica == g.Leader {
				leader = shortNode(s.Node)
			}
		}
		here := "-"
		if g.Here {
			here = strconv.FormatUint(g.Replica, 10)
		}
		kind := g.Kind
		if len(g.From) > 0 || len(g.To) > 0 {
			kind += fmt.Sprintf(" from %q to %q", g.From, g.To)
		}
		if g.Source != "" {
			kind += ", filled by " + g.Source
		}
		rows = append(rows, []string{g.Name, kind, here, leader, strconv.FormatUint(g.Term, 10), strconv.FormatUint(g.Applied, 10), strings.Join(seats, "; ")})
	}
	return table(w, []string{"NAME", "KIND", "HERE", "LEADER", "TERM", "APPLIED", "MEMBERS"}, rows)
}

func newRaftVersions(env *Env) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "versions",
		Short: "List what versions of which cells the nodes of the cluster have",
		Long: `Lists, for each node of the cluster, the versions of its cells, from the table that
the nodes keep; each writes its own within seconds. What a node that is gone had
last stays until it is removed from the cluster.`,
		Example: "  cellnode raft versions\n  cellnode raft versions -o json",
		Args:    cobra.NoArgs,
	}
	raftTimeoutFlag(cmd, &timeout)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := deadline(cmd, timeout)
		defer cancel()
		all, err := raftnode.Versions(ctx, env.Dir)
		if errors.Is(err, uds.ErrNoListener) {
			return errNoMember
		}
		if err != nil {
			return &CallError{err}
		}
		return env.Show(append([]raftnode.Version{}, all...), func(w io.Writer) error {
			rows := [][]string{}
			for _, v := range all {
				current := "-"
				if v.Current {
					current = "current"
				}
				rows = append(rows, []string{shortNode(v.Node), v.Cell, v.Version, v.State, current})
			}
			return table(w, []string{"NODE", "CELL", "VERSION", "STATE", "CALLERS"}, rows)
		})
	}
	return cmd
}

// newRaftMember is what a node runs as a child; people don't.
func newRaftMember(env *Env) *cobra.Command {
	l := config.Log{}
	cmd := &cobra.Command{
		Use:     "member",
		Short:   "Be the member of a cluster that a node has started",
		Long:    "A node starts this as a process of its own, since Raft ends its process when the\ndisk is full or data was lost.",
		Example: "  cellnode raft member # started by cellnode run --raft",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := raftnode.FromEnv()
			if err != nil {
				return err
			}
			err = raftnode.Run(cmd.Context(), s, logger(env, l))
			switch {
			case cmd.Context().Err() != nil:
				return nil
			case raftnode.Refused(err):
				fmt.Fprintln(env.Err, err)
				os.Exit(supervise.ExitRefused) // starting again won't help
			}
			return err
		},
	}
	cmd.Flags().StringVar(&l.Format, "log-format", "text", "text or json")
	cmd.Flags().StringVar(&l.Level, "log-level", "info", "debug, info, warn or error")
	return cmd
}
