package cli

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// form is one form of a method that a cell serves.
type form struct {
	Method      string   `json:"method"`
	Fingerprint string   `json:"fingerprint"`
	Accepts     []string `json:"accepts"` // fingerprints of earlier forms
	Digest      string   `json:"digest"`  // of the service
}

// newVersions says which forms of its methods a cell serves.
func newVersions(env *Env) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "versions NAME",
		Short: "List the versions of what a cell serves",
		Long: `Lists each form of each method that is served under a name, with its fingerprint
and those of the earlier forms that it accepts. A caller reaches the form whose
fingerprint it was built with.

Of a node's cell it lists the versions, oldest first, with what each does (ready,
asleep, …), why one does not run, and who calls it.`,
		Example:           "  cellnode versions postage",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: env.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := deadline(cmd, timeout)
			defer cancel()
			if err := validNames(args); err != nil {
				return err
			}
			if all, known, err := nodeVersions(ctx, env, args[0]); known || err != nil {
				if err != nil {
					return err
				}
				return env.Show(all, func(w io.Writer) error { return printVersions(w, all) })
			}
			forms, err := forms(ctx, env, args[0])
			if err != nil {
				return err
			}
			return env.Show(forms, func(w io.Writer) error {
				rows := [][]string{}
				for _, f := range forms {
					rows = append(rows, []string{f.Method, f.Fingerprint, f.Digest[:16], strings.Join(f.Accepts, " ")})
				}
				return table(w, []string{"METHOD", "FINGERPRINT", "SERVICE", "ACCEPTS ALSO"}, rows)
			})
		},
	}
	timeoutFlag(cmd, &timeout)
	return cmd
}

func forms(ctx context.Context, env *Env, name string) ([]form, error) {
	c, err := env.reach(ctx, name)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	services, err := c.Conn.List(ctx)
	if err != nil {
		return nil, err
	}
	all := []form{}
	for _, s := range services {
		for _, m := range s.Methods {
			all = append(all, form{s.Name + "." + m.Name, m.Fingerprint, append([]string{}, m.Ancestors...), s.Digest})
		}
	}
	return all, nil
}
