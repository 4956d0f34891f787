package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/identity"
)

func newToken(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "token",
		Short:   "Make and revoke tokens by which nodes join a cluster",
		Example: "  cellnode token create --for 1h\n  cellnode token ls",
	}
	cmd.AddCommand(newTokenCreate(env), newTokenLs(env), newTokenRevoke(env), newTokenServe(env))
	return cmd
}

func newTokenCreate(env *Env) *cobra.Command {
	var dir, label string
	var lifetime time.Duration
	var uses uint32
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a token; the first one makes the cluster, too",
		Long: `Makes a token by which nodes join this node's cluster, and prints it. A token is
a secret: whoever has it can join until it expires. The cluster's key, made with
the first token, stays in this node's folder.

Memberships by a token end when it expires, unless the node is enrolled over the
network (see "cellnode token serve"). A counted one (--uses) is good for nothing
but that.`,
		Example: "  cellnode token create --for 24h --label rack-7",
		Args:    cobra.NoArgs,
	}
	where := keptIn(cmd, &dir)
	cmd.Flags().DurationVar(&lifetime, "for", 24*time.Hour, "how long it is valid")
	cmd.Flags().Uint32Var(&uses, "uses", 0, "how many nodes may join; 0 for any number")
	cmd.Flags().StringVar(&label, "label", "", "what it is for, in \"cellnode token ls\"")
	cmd.RunE = func(*cobra.Command, []string) error {
		if err := mustLast("for", lifetime); err != nil {
			return err
		}
		path, err := where()
		if err != nil {
			return err
		}
		t, err := identity.IssueToken(path, time.Now(), lifetime, uses, label)
		if err != nil {
			return err
		}
		return env.Show(map[string]string{"token": t.Text(), "serial": fmt.Sprintf("%016x", t.Grant.Serial), "expires": t.Grant.NotAfter.Format(time.RFC3339)},
			func(w io.Writer) error {
				_, err := fmt.Fprintln(w, t.Text())
				return err
			})
	}
	return cmd
}

// issued is a token that was made.
type issued struct {
	Serial  string `json:"serial"`
	Made    string `json:"made"`
	Expires string `json:"expires"`
	Uses    uint32 `json:"uses"`
	Revoked bool   `json:"revoked"`
	Label   string `json:"label"`
}

func newTokenLs(env *Env) *cobra.Command {
	var dir string
	cmd := &cobra.Command{Use: "ls", Short: "List the tokens that were made here", Args: cobra.NoArgs, Example: "  cellnode token ls"}
	where := keptIn(cmd, &dir)
	cmd.RunE = func(*cobra.Command, []string) error {
		path, err := where()
		if err != nil {
			return err
		}
		all, err := identity.IssuedTokens(path)
		if err != nil {
			return err
		}
		list, rows := []issued{}, [][]string{}
		for _, t := range all {
			i := issued{fmt.Sprintf("%016x", t.Serial), t.Made.Format(time.RFC3339), t.Expires.Format(time.RFC3339), t.Uses, t.Revoked, t.Label}
			state := "valid"
			switch {
			case t.Revoked:
				state = "revoked"
			case !time.Now().Before(t.Expires):
				state = "expired"
			}
			list = append(list, i)
			rows = append(rows, []string{i.Serial, i.Made, i.Expires, strconv.Itoa(int(i.Uses)), state, i.Label})
		}
		return env.Show(list, func(w io.Writer) error {
			return table(w, []string{"SERIAL", "MADE", "EXPIRES", "USES", "STATE", "LABEL"}, rows)
		})
	}
	return cmd
}

func newTokenRevoke(env *Env) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "revoke SERIAL",
		Short:   "Refuse a token and all nodes that came by it",
		Example: "  cellnode token revoke 0123456789abcdef",
		Args:    cobra.ExactArgs(1),
	}
	where := keptIn(cmd, &dir)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		serial, err := strconv.ParseUint(args[0], 16, 64)
		if err != nil {
			return usagef("a serial number is 16 hexadecimal digits, as \"cellnode token ls\" shows them, not %.20q", args[0])
		}
		path, err := where()
		if err != nil {
			return err
		}
		if err := identity.RevokeToken(path, serial, time.Now()); err != nil {
			return err
		}
		return env.Show(map[string]string{"revoked": args[0]}, func(w io.Writer) error {
			made, err := identity.IssuedTokens(path)
			if err != nil || slices.ContainsFunc(made, func(t identity.IssuedToken) bool { return t.Serial == serial }) {
				return nil
			}
			_, err = fmt.Fprintln(w, "it is refused from now on, and no token of this serial number was made here: compare cellnode token ls")
			return err
		})
	}
	return cmd
}

func newLeave(env *Env) *cobra.Command {
	var dir string
	cmd := &cobra.Command{Use: "leave", Short: "End this node's membership of its cluster", Args: cobra.NoArgs, Example: "  cellnode leave"}
	where := keptIn(cmd, &dir)
	cmd.RunE = func(*cobra.Command, []string) error {
		path, err := where()
		if err != nil {
			return err
		}
		if err := identity.Leave(path); err != nil {
			return err
		}
		return env.Show(struct{}{}, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, "this node is a member of no cluster; a node that runs finds out when it is started again")
			return err
		})
	}
	return cmd
}
