// Package command is the command line of cellgen.
package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// The exit codes.
const (
	exitOK    = 0
	exitFound = 1 // something is wrong with what was read, or differs
	exitUsage = 2 // the command line makes no sense
)

const usage = `cellgen makes typed clients and servers of a service.

  cellgen [flags] [FILE]    FILE.go: write FILE.cell, the canonical description,
                            and FILE_cell.go. FILE.cell: write FILE_cell.go.
                            Without FILE, the one that go generate is at.
  cellgen c FILE.cell       write FILE_cell.h: C structs and a dispatch table for
                            firmware (firmware/cell.h)
  cellgen diff OLD NEW      say what became of each method between two
                            descriptions
  cellgen remote NAME       ask the running cell NAME for its description, write
                            a client for it, and pin both in cell.lock
  cellgen check [NAME…]     compare the clients that cell.lock pins with the
                            running cells: which of their calls would be refused

cellgen COMMAND --help has the flags. Exit codes: 0 all is well, 1 something is
wrong with what was read or differs, 2 the command line is wrong.
`

// errUsage is wrapped by errors about the command line.
var errUsage = errors.New("see cellgen --help")

// environment is what a command may use of the world.
type environment struct {
	getenv         func(string) string
	stdout, stderr io.Writer
}

// commands are the words that may come first; without one it is generate.
var commands = map[string]func(environment, []string) (int, error){
	"c":      runC,
	"check":  runCheck,
	"diff":   runDiff,
	"remote": runRemote,
}

// Run runs cellgen with the given arguments and returns its exit code.
func Run(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	env := environment{getenv, stdout, stderr}
	run := runGenerate
	if len(args) > 0 {
		switch word := args[0]; {
		case word == "help" || word == "--help" || word == "-h" || word == "-help":
			fmt.Fprint(stdout, usage)
			return exitOK
		case commands[word] != nil:
			run, args = commands[word], args[1:]
		}
	}
	code, err := run(env, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "cellgen: %v\n", err)
		return exitUsage
	case err != nil:
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintln(stderr, line)
		}
		return exitFound
	}
	return code
}

// newFlags returns a flag set that neither prints nor exits.
func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	return flags
}

// parse parses args, which may have flags behind the operands too, and returns
// the operands. Asked for help, it prints synopsis and the flags and returns
// flag.ErrHelp.
func parse(env environment, flags *flag.FlagSet, synopsis string, args []string) ([]string, error) {
	var operands []string
	for {
		err := flags.Parse(args)
		switch {
		case errors.Is(err, flag.ErrHelp):
			fmt.Fprintf(env.stdout, "usage: %s\n\n", synopsis)
			flags.SetOutput(env.stdout)
			flags.PrintDefaults()
			return nil, err
		case err != nil:
			return nil, fmt.Errorf("%w: %w", err, errUsage)
		case flags.NArg() == 0:
			return operands, nil
		}
		operands = append(operands, flags.Arg(0))
		args = flags.Args()[1:]
	}
}
