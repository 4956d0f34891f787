// Package cli is the command line of cellnode: one file a command, or a group
// of commands that belong together, and one table of them all (root.go), from
// which help, completion and man pages are made.
//
// A command is a function that takes the [Env] and returns a cobra.Command
// with Use, Short, Example and RunE. It prints its result with [Env.Show],
// which heeds -o, and returns errors instead of printing them: [Main] prints
// them and chooses the exit code.
//
//	nil                     0
//	any error               1
//	a [UsageError], and whatever cobra says of flags and arguments   2
//	a [CallError]           64 + the call's status
package cli
