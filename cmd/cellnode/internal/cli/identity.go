package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/identity"
)

// keptIn is the flag for the node's directory, and its value or the default.
func keptIn(cmd *cobra.Command, dir *string) func() (string, error) {
	cmd.Flags().StringVar(dir, "dir", "", "folder of the node's key (default $"+identity.EnvDir+", else /var/lib/cell/identity for root, else cell/identity in the user's configuration)")
	return func() (string, error) {
		if *dir != "" {
			return *dir, nil
		}
		return identity.DefaultDir()
	}
}

// nodeIdentity is who a node is.
type nodeIdentity struct {
	ID      identity.ID `json:"id"`
	Dir     string      `json:"dir"`
	Cluster string      `json:"cluster,omitempty"`
	// Until is when the membership ends.
	Until string `json:"until,omitempty"`
	// Keeper: the cluster's key lies here, so tokens can be made here.
	Keeper bool `json:"keeper"`
}

func newID(env *Env) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "id",
		Short: "Print who this node is, and make its key if it has none",
		Long: `Prints the id of this node, which is its public key: give it to other nodes'
"cellnode trust add". The key is made at first use.`,
		Example: "  cellnode id\n  cellnode id -o json",
		Args:    cobra.NoArgs,
	}
	where := keptIn(cmd, &dir)
	cmd.RunE = func(*cobra.Command, []string) error {
		n, err := lookAtIdentity(where)
		if err != nil {
			return err
		}
		return env.Show(n, func(w io.Writer) error {
			if _, err := fmt.Fprintln(w, n.ID); err != nil || n.Cluster == "" {
				return err
			}
			_, err := fmt.Fprintf(w, "member of %s until %s\n", n.Cluster, n.Until)
			return err
		})
	}
	cmd.AddCommand(newIDRotate(env))
	return cmd
}

func lookAtIdentity(where func() (string, error)) (n nodeIdentity, err error) {
	if n.Dir, err = where(); err != nil {
		return n, err
	}
	c, err := identity.LoadCredentials(n.Dir)
	if err != nil {
		return n, err
	}
	n.ID = c.ID()
	if m := c.Membership(); m != nil {
		n.Cluster, n.Until = m.Cluster.String(), m.Until().Format(time.RFC3339)
	}
	_, err = identity.LoadCluster(n.Dir)
	n.Keeper = err == nil
	return n, nil
}

func newIDRotate(env *Env) *cobra.Command {
	var dir string
	var overlap time.Duration
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the node's key by a new one, for which the old one vouches",
		Long: `Makes a new key. For the time of --overlap whoever trusts the old key trusts the
new one, too; until its end, allow lists must name the new id. A process that
runs shows the new key after its next start.`,
		Example: "  cellnode id rotate --overlap 720h",
		Args:    cobra.NoArgs,
	}
	where := keptIn(cmd, &dir)
	cmd.Flags().DurationVar(&overlap, "overlap", 30*24*time.Hour, "for how long the old key vouches for the new one, at most 2160h")
	cmd.RunE = func(*cobra.Command, []string) error {
		if err := mustLast("overlap", overlap); err != nil {
			return err
		}
		if overlap > identity.MaxSuccession {
			return usagef("--overlap must be at most %v, and is %v", identity.MaxSuccession, overlap)
		}
		path, err := where()
		if err != nil {
			return err
		}
		s, err := identity.RotateKey(path, time.Now(), overlap)
		if err != nil {
			return err
		}
		return env.Show(map[string]string{"old": s.Old.String(), "new": s.New.String(), "until": s.NotAfter.Format(time.RFC3339)}, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%v takes the place of\n%v, which vouches for it until %s\n", s.New, s.Old, s.NotAfter.Format(time.RFC3339))
			return err
		})
	}
	return cmd
}

func newTrust(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "trust",
		Short:   "Say which nodes are let in",
		Example: "  cellnode trust ls\n  cellnode trust add cell1… cellar",
	}
	cmd.AddCommand(newTrustLs(env),
		newTrustChange("add ID [NAME]", "Put a node on the allow list", cobra.RangeArgs(1, 2), func(dir string, id identity.ID, name string) (bool, error) {
			return identity.AllowIn(dir, id, name)
		}, env, "it was on the list"),
		newTrustChange("rm ID", "Take a node off the allow list", cobra.ExactArgs(1), func(dir string, id identity.ID, _ string) (bool, error) {
			return identity.DisallowIn(dir, id)
		}, env, "it was not on the list"),
		newTrustChange("revoke ID", "Refuse a node whatever speaks for it, in the whole cluster where its key lies here", cobra.ExactArgs(1),
			func(dir string, id identity.ID, _ string) (bool, error) {
				return identity.RevokeIn(dir, id, time.Now())
			}, env, "it was refused before"))
	return cmd
}

func newTrustChange(use, short string, args cobra.PositionalArgs, change func(dir string, id identity.ID, name string) (bool, error), env *Env, already string) *cobra.Command {
	var dir string
	name, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{Use: use, Short: short, Args: args, Example: "  cellnode trust " + name + " cell1…"}
	where := keptIn(cmd, &dir)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		id, err := identity.ParseID(args[0])
		if err != nil {
			return &UsageError{err}
		}
		path, err := where()
		if err != nil {
			return err
		}
		changed, err := change(path, id, strings.Join(args[1:], " "))
		if errors.Is(err, identity.ErrName) {
			return &UsageError{err}
		}
		if err != nil {
			return err
		}
		return env.Show(map[string]bool{"changed": changed}, func(w io.Writer) error {
			if !changed {
				_, err = fmt.Fprintln(w, already)
			}
			return err
		})
	}
	return cmd
}

// trusted is what a node's lists say.
type trusted struct {
	Cluster string   `json:"cluster,omitempty"`
	Allowed []string `json:"allowed"`
	Revoked []string `json:"revoked"`
}

func newTrustLs(env *Env) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "ls", Short: "List who is let in and who is refused", Args: cobra.NoArgs,
		Example: "  cellnode trust ls\n  cellnode trust ls -o json",
	}
	where := keptIn(cmd, &dir)
	cmd.RunE = func(*cobra.Command, []string) error {
		path, err := where()
		if err != nil {
			return err
		}
		t, err := identity.LoadTrust(path)
		if err != nil {
			return err
		}
		list := trusted{Allowed: []string{}, Revoked: []string{}}
		if c := t.Cluster(); !c.IsZero() {
			list.Cluster = c.String()
		}
		allowed, err := identity.AllowedIn(path)
		if err != nil {
			return err
		}
		revoked, err := identity.RevokedIn(path)
		if err != nil {
			return err
		}
		list.Allowed, list.Revoked = append(list.Allowed, allowed...), append(list.Revoked, revoked...)
		if l := t.Revocations(); l != nil {
			for _, id := range l.Nodes {
				list.Revoked = append(list.Revoked, id.String()+" (by the cluster)")
			}
			for _, serial := range l.Serials {
				list.Revoked = append(list.Revoked, fmt.Sprintf("token %016x (by the cluster)", serial))
			}
		}
		return env.Show(list, func(w io.Writer) error {
			var rows [][]string
			if list.Cluster != "" {
				rows = append(rows, []string{"members of", list.Cluster})
			}
			for _, a := range list.Allowed {
				rows = append(rows, []string{"allowed", a})
			}
			for _, r := range list.Revoked {
				rows = append(rows, []string{"revoked", r})
			}
			return table(w, []string{"WHAT", "WHO"}, rows)
		})
	}
	return cmd
}
