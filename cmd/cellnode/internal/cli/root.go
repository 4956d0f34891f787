package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// group is what help lists under one heading.
type group struct {
	id, title string
	commands  []func(*Env) *cobra.Command
}

// groups are all commands, in the order of help.
var groups = []group{
	{"cells", "Cells that run:", []func(*Env) *cobra.Command{newLs, newDescribe, newCall, newEcho, newHz, newPath, newDiscover, newHealth, newVersions, newStat, newTop}},
	{"node", "The node of this host:", []func(*Env) *cobra.Command{newRun, newConfig, newPs, newDevices, newPeers, newSpawn, newStop, newRestart, newDeploy, newLogs, newReload, newAudit, newDemo}},
	{"identity", "Who this node is and whom it trusts:", []func(*Env) *cobra.Command{newID, newTrust, newToken, newJoin, newLeave}},
	{"cluster", "What the nodes of a cluster agree on:", []func(*Env) *cobra.Command{newRaft}},
	{"host", "The host:", []func(*Env) *cobra.Command{newDoctor, newEbpf, newBroker}},
	{"self", "This program:", []func(*Env) *cobra.Command{newCompletion, newMan, newVersion}},
}

// NewRoot returns the whole command line.
func NewRoot(env *Env) *cobra.Command {
	env.format = formatText
	root := &cobra.Command{
		Use:   "cellnode",
		Short: "Run, watch and evolve cells on a host",
		Long: `cellnode runs, watches and evolves cells on a host. A cell is a process that
serves or calls typed methods.

Exit codes: 0 done, 1 failed, 2 wrong usage, 64 + status for the call that a
command was asked to make.`,
		Example:       "  cellnode doctor\n  cellnode doctor -o json",
		SilenceErrors: true, // Run prints them
		SilenceUsage:  true,
	}
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.CompletionOptions.DisableDefaultCmd = true // ours leaves powershell out
	root.SetHelpCommandGroupID("self")
	root.PersistentFlags().VarP(&env.format, "output", "o", "text, or json for programs")
	root.PersistentFlags().StringVar(&env.Dir, "runtime-dir", "", "folder with the sockets of cells (default $CELL_RUNTIME_DIR, else /run/cell for root, else $XDG_RUNTIME_DIR/cell)")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{formatText, formatJSON}, cobra.ShellCompDirectiveNoFileComp))
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, make := range g.commands {
			cmd := make(env)
			cmd.GroupID = g.id
			root.AddCommand(cmd)
		}
	}
	strict(root)
	return root
}

// strict has cmd and all below it tell wrong usage as a UsageError.
func strict(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &UsageError{plainFlag(err)} })
	cmd.SuggestionsMinimumDistance = 2
	check := cmd.Args
	switch {
	case cmd.HasSubCommands() && cmd.RunE == nil:
		check = oneOf
		cmd.RunE = func(cmd *cobra.Command, _ []string) error {
			if cmd.HasParent() {
				return usagef("which one? %s", strings.Join(names(cmd), ", "))
			}
			return cmd.Help()
		}
	case check == nil:
		check = cobra.NoArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &UsageError{plain(cmd, args, err)}
		}
		return notNegative(cmd)
	}
	for _, sub := range cmd.Commands() {
		strict(sub)
	}
}

// plain says in words what a command takes, where cobra counts arguments.
func plain(cmd *cobra.Command, args []string, err error) error {
	_, takes, _ := strings.Cut(cmd.Use, " ")
	switch {
	case takes == "" && len(args) > 0 && !cmd.HasSubCommands():
		return fmt.Errorf("it takes no arguments, and %.80q was given", args[0])
	case takes == "" && len(args) > 0:
		return oneOf(cmd, args)
	case strings.HasPrefix(err.Error(), "invalid argument"):
		return fmt.Errorf("there is no %.80q; choose from %s", args[slices.IndexFunc(args, func(a string) bool { return !slices.Contains(cmd.ValidArgs, a) })], strings.Join(cmd.ValidArgs, ", "))
	case !strings.Contains(err.Error(), "arg(s)"):
		return err
	case len(args) == 0:
		return fmt.Errorf("it takes %s, and nothing was given", takes)
	}
	return fmt.Errorf("it takes %s, and %d arguments were given", takes, len(args))
}

// oneOf is the check of a command that only has others below it.
func oneOf(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	near := "; there are " + strings.Join(names(cmd), ", ")
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		near = "; did you mean " + strings.Join(s, " or ") + "?"
	}
	return usagef("there is no command %.80q%s", args[0], near)
}

func names(cmd *cobra.Command) (all []string) {
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			all = append(all, sub.Name())
		}
	}
	return all
}
