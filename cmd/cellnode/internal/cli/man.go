package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newMan writes man pages made of the same table as help.
func newMan(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write man pages for all commands into a directory",
		Long:    "Writes a page in section 1 for each command into DIR, which is made if need be.\nRead one with man -l DIR/cellnode-doctor.1.",
		Example: "  cellnode man /usr/local/share/man/man1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			// A fixed date, so that the same program writes the same pages.
			date := time.Unix(0, 0).UTC()
			header := &doc.GenManHeader{Section: "1", Source: "Cell", Manual: "Cell", Date: &date}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return err
			}
			pages, err := filepath.Glob(filepath.Join(args[0], "cellnode*.1"))
			if err != nil {
				return err
			}
			return env.Show(map[string]any{"pages": pages}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%d pages in %s\n", len(pages), args[0])
				return err
			})
		},
	}
}
