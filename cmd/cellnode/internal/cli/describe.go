package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/cmd/cellnode/internal/live"
)

// described is one service for programs.
type described struct {
	live.Service
	Text string `json:"description"`
}

// newDescribe prints the descriptions of a cell's services.
func newDescribe(env *Env) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "describe NAME",
		Short: "Print the schema of what a cell serves, with fingerprints",
		Long: `Prints the canonical description of each service, from which cellgen makes a
client (cellgen remote), and before it the fingerprint of each method with those
of the earlier forms that it still accepts.`,
		Example:           "  cellnode describe market-ledger",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: env.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := deadline(cmd, timeout)
			defer cancel()
			c, err := env.reach(ctx, args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			services, err := c.Services(ctx)
			if err != nil {
				return err
			}
			all := []described{}
			for _, s := range services {
				all = append(all, described{s, s.Text})
			}
			return env.Show(all, func(w io.Writer) error { return printServices(w, services) })
		},
	}
	timeoutFlag(cmd, &timeout)
	return cmd
}

func printServices(w io.Writer, services []live.Service) error {
	rows := [][]string{}
	for _, s := range services {
		for _, m := range s.Methods {
			rows = append(rows, []string{s.Name + "." + m.Name, m.Mode, m.Fingerprint, strings.Join(m.Ancestors, " ")})
		}
	}
	if err := table(w, []string{"METHOD", "MODE", "FINGERPRINT", "ACCEPTS ALSO"}, rows); err != nil {
		return err
	}
	printed := map[string]bool{"": true} // services of one file share its text
	for _, s := range services {
		if printed[s.Text] {
			continue
		}
		printed[s.Text] = true
		if _, err := fmt.Fprintf(w, "\n%s", s.Text); err != nil {
			return err
		}
	}
	return nil
}
