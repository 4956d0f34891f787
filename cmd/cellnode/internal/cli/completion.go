package cli

import (
	"github.com/spf13/cobra"
)

// newCompletion prints scripts that complete commands, flags and names.
func newCompletion(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a shell's completion script",
		Long: `Prints a script by which a shell completes commands, flags and the names of
running cells.

  bash  source <(cellnode completion bash), or write it to
        /etc/bash_completion.d/cellnode
  zsh   write it to a file _cellnode in a directory of $fpath
  fish  write it to ~/.config/fish/completions/cellnode.fish`,
		Example:   "  source <(cellnode completion bash)",
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(env.Out, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(env.Out)
			}
			return cmd.Root().GenFishCompletion(env.Out, true)
		},
	}
}
