package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/cmd/cellnode/internal/live"
	"github.com/cell-runtime/cell/uds"
)

// reach connects to a cell for a command.
func (e *Env) reach(ctx context.Context, name string) (*live.Cell, error) {
	if err := uds.ValidateName(name); err != nil {
		return nil, &UsageError{err}
	}
	c, err := live.Dial(ctx, e.Dir, name)
	return c, e.explain(err)
}

// find connects to the cell that serves a method, and finds that.
func (e *Env) find(ctx context.Context, path string) (*live.Cell, *live.Method, error) {
	c, m, err := live.Find(ctx, e.Dir, path)
	if errors.Is(err, live.ErrNoMethod) || errors.Is(err, uds.ErrName) {
		err = &UsageError{err}
	}
	return c, m, e.explain(err)
}

// explain adds to an error of dialing which cells there are.
func (e *Env) explain(err error) error {
	if !errors.Is(err, uds.ErrNoListener) {
		return err
	}
	names, listErr := live.Names(e.Dir)
	remote, _ := live.RemoteNames(e.Dir)
	names = append(names, remote...)
	if listErr != nil || len(names) == 0 {
		return fmt.Errorf("%w; there are no cells", err)
	}
	return fmt.Errorf("%w; there are %v", err, names)
}

// deadline bounds a command's questions. A timeout of 0 means none.
func deadline(cmd *cobra.Command, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		return context.WithCancel(cmd.Context())
	}
	return context.WithTimeout(cmd.Context(), timeout)
}

// timeoutFlag adds --timeout.
func timeoutFlag(cmd *cobra.Command, timeout *time.Duration) {
	cmd.Flags().DurationVar(timeout, "timeout", live.Timeout, "how long to wait for the cell")
}

// completeNames completes the names of cells.
func (e *Env) completeNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names, _ := live.Names(e.Dir)
	remote, _ := live.RemoteNames(e.Dir)
	return append(names, remote...), cobra.ShellCompDirectiveNoFileComp
}

// completeMethods completes NAME.Method; topics says whether it wants those.
func (e *Env) completeMethods(topics bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
		defer cancel()
		names, _ := live.Names(e.Dir)
		var all []string
		for _, name := range names {
			c, err := live.Dial(ctx, e.Dir, name)
			if err != nil {
				continue
			}
			services, _ := c.Conn.List(ctx)
			_ = c.Close()
			for _, s := range services {
				for _, m := range s.Methods {
					if path := name + "." + m.Name; (m.Mode == "topic") == topics && !slices.Contains(all, path) {
						all = append(all, path)
					}
				}
			}
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

// person reports whether a file is a terminal, so that a person reads along.
func person(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// validNames refuses arguments that can't name anything.
func validNames(args []string) error {
	for _, name := range args {
		if err := uds.ValidateName(name); err != nil {
			return &UsageError{err}
		}
	}
	return nil
}
