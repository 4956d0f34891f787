package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/ops"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// errNoNode: no node runs in the runtime directory.
var errNoNode = errors.New("no node runs here; start one with cellnode run")

// operate connects to the node of the runtime directory.
func (e *Env) operate(ctx context.Context) (*ops.NodeClient, func() error, error) {
	conn, err := rpc.Connect(ctx, func(ctx context.Context) (link.Link, error) {
		return uds.Dial(ctx, config.OpsName, &uds.Options{Dir: e.Dir})
	}, &rpc.ConnOptions{Wait: rpc.WaitPark, Name: "cellnode"})
	if errors.Is(err, uds.ErrNoListener) {
		return nil, nil, errNoNode
	}
	if err != nil {
		return nil, nil, err
	}
	return ops.NewNodeClient(conn), conn.Close, nil
}

func printSettings(env *Env, all []config.Setting) error {
	return env.Show(all, func(w io.Writer) error {
		for _, s := range all {
			if _, err := fmt.Fprintln(w, s); err != nil {
				return err
			}
		}
		return nil
	})
}

// step is a command that has a node do one thing to one cell.
type step struct {
	use, short, long, example string
	do                        func(ctx context.Context, n *ops.NodeClient, args []string) (ops.Done, error)
	args                      cobra.PositionalArgs
	lasts                     *time.Duration // what it takes by itself, beyond --timeout; nil: nothing
}

func (s step) command(env *Env) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: s.use, Short: s.short, Long: s.long, Example: s.example, Args: s.args,
		ValidArgsFunction: env.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if err := validNames(args[:1]); err != nil {
					return err
				}
			}
			if s.lasts != nil && timeout > 0 {
				timeout += max(*s.lasts, 0)
			}
			ctx, cancel := deadline(cmd, timeout)
			defer cancel()
			n, closeNode, err := env.operate(ctx)
			if err != nil {
				return err
			}
			defer closeNode()
			done, err := s.do(ctx, n, args)
			if err != nil {
				return &CallError{err}
			}
			return env.Show(append([]string{}, done.Did...), func(w io.Writer) error {
				for _, did := range done.Did {
					if _, err := fmt.Fprintln(w, did); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait for the node")
	return cmd
}

func newSpawn(env *Env) *cobra.Command {
	return step{
		use: "spawn NAME", short: "Start a cell of the node's configuration, and wait until it is ready",
		long: `Has the node start a cell, also one that it has given up on, and prints the process
that is ready. The exit code is 64 + the status when it can't: 72 (resource
exhausted) at the ceiling of processes.`,
		example: "  cellnode spawn market-ledger", args: cobra.ExactArgs(1),
		do: func(ctx context.Context, n *ops.NodeClient, args []string) (ops.Done, error) {
			return n.Spawn(ctx, ops.Name{Cell: args[0]})
		},
	}.command(env)
}

func newStop(env *Env) *cobra.Command {
	return step{
		use: "stop NAME", short: "Drain and stop all processes of a cell",
		long: `Has the processes of a cell finish what they have begun (SIGTERM), kills those that
are there after stop_grace, and returns when they are gone. Whoever calls the cell
starts it again.`,
		example: "  cellnode stop market-ledger", args: cobra.ExactArgs(1),
		do: func(ctx context.Context, n *ops.NodeClient, args []string) (ops.Done, error) {
			return n.Stop(ctx, ops.Name{Cell: args[0]})
		},
	}.command(env)
}

func newRestart(env *Env) *cobra.Command {
	return step{
		use: "restart NAME", short: "Replace a cell's processes by new ones, without a failed call",
		long:    `Starts new processes of the same version, leads callers to them when they are ready, and drains the old ones.`,
		example: "  cellnode restart market-ledger", args: cobra.ExactArgs(1),
		do: func(ctx context.Context, n *ops.NodeClient, args []string) (ops.Done, error) {
			return n.Restart(ctx, ops.Name{Cell: args[0]})
		},
	}.command(env)
}

func newReload(env *Env) *cobra.Command {
	return step{
		use: "reload", short: "Have the node read its configuration again",
		long: `Prints what the node did about each change, and what can't be changed without a
restart of the node. With a configuration that is wrong everything stays as it was.`,
		example: "  cellnode reload", args: cobra.NoArgs,
		do: func(ctx context.Context, n *ops.NodeClient, _ []string) (ops.Done, error) { return n.Reload(ctx) },
	}.command(env)
}

func newDeploy(env *Env) *cobra.Command {
	var version string
	var watch time.Duration
	cmd := step{
		use: "deploy NAME [-- COMMAND…]", short: "Start a new version of a cell, and lead callers to it if it is well",
		long: `Starts the command (the configured one if none is given) beside what runs, leads new
callers to it when it is ready, and watches it for --watch. If it ends or does not
answer, callers are led back and it is stopped. Otherwise the versions go whose
callers it serves as well, each after it has drained; others stay beside it, are
reached by their fingerprints, sleep when nobody calls them, and are woken by a
call.`,
		example: "  cellnode deploy postage -- /opt/postage/v2/postage serve v2",
		args:    cobra.MinimumNArgs(1),
		lasts:   &watch,
		do: func(ctx context.Context, n *ops.NodeClient, args []string) (ops.Done, error) {
			return n.Deploy(ctx, ops.Deployment{Cell: args[0], Command: args[1:], Version: version, Watch: int64(watch)})
		},
	}.command(env)
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return err
		}
		if len(args) > 1 && (cmd.ArgsLenAtDash() != 1 || !strings.HasPrefix(args[1], "/")) {
			return usagef("write -- before the command, which begins with an absolute path")
		}
		if watch < 0 {
			return usagef("--watch must not be below 0")
		}
		return nil
	}
	cmd.Flags().StringVar(&version, "version", "", "a name for the version (default: made of the command)")
	cmd.Flags().DurationVar(&watch, "watch", 2*time.Second, "how long it must stay well before others go; --timeout is for all else")
	return cmd
}

// logLine is a line of output for programs.
type logLine struct {
	At     time.Time `json:"at"`
	Source string    `json:"source"`
	Text   string    `json:"text"`
	Lost   uint64    `json:"lost,omitempty"`
}

func newLogs(env *Env) *cobra.Command {
	var follow bool
	var lines int32
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Print what a cell has written, and what the node did about it",
		Long: `Prints the last lines that processes of the cell wrote to standard output and error,
of all its versions, and what the node has to say about them. With -f it goes on
until interrupted. A reader that is too slow loses lines and is told how many.`,
		Example:           "  cellnode logs market-ledger -f",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: env.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if lines < 0 {
				return usagef("--lines must not be below 0")
			}
			if err := validNames(args); err != nil {
				return err
			}
			return logs(cmd.Context(), env, ops.LogRequest{Cell: args[0], Lines: lines, Follow: follow})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes")
	cmd.Flags().Int32VarP(&lines, "lines", "n", 100, "at most so many of the past")
	return cmd
}

func logs(ctx context.Context, env *Env, req ops.LogRequest) error {
	n, closeNode, err := env.operate(ctx)
	if err != nil {
		return err
	}
	defer closeNode()
	s, err := n.Logs(ctx, req)
	if err != nil {
		return &CallError{err}
	}
	defer s.Close()
	for l, err := range s.All() {
		if err != nil && ctx.Err() != nil {
			return nil // interrupted: the usual end
		}
		if err != nil {
			return &CallError{err}
		}
		line := logLine{time.Unix(0, l.At), l.Source, l.Text, l.Lost}
		if err := env.Line(line, line.print); err != nil {
			return err
		}
	}
	if _, err := s.Reply(); err != nil && ctx.Err() == nil {
		return &CallError{err}
	}
	return nil
}

func (l logLine) print(w io.Writer) error {
	if l.Lost > 0 {
		fmt.Fprintf(w, "… %d lines lost\n", l.Lost)
	}
	_, err := fmt.Fprintf(w, "%s %-20s %s\n", l.At.Format("15:04:05.000"), printable(l.Source), printable(l.Text))
	return err
}

// printable keeps what a cell has written from commanding a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

func newAudit(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "audit",
		Short:   "List who started, stopped, deployed and was refused what",
		Example: "  cellnode audit -o json | jq '.[] | select(.did == \"refused\")'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, closeNode, err := env.operate(cmd.Context())
			if err != nil {
				return err
			}
			defer closeNode()
			list, err := n.Audit(cmd.Context())
			if err != nil {
				return &CallError{err}
			}
			return env.Show(append([]ops.Entry{}, list.Entries...), func(w io.Writer) error {
				rows := [][]string{}
				for _, e := range list.Entries {
					rows = append(rows, []string{time.Unix(0, e.At).Format(time.DateTime), e.Who, e.Did, e.Cell, e.Why})
				}
				return table(w, []string{"WHEN", "WHO", "DID", "CELL", "WHY"}, rows)
			})
		},
	}
}
