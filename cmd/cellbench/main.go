// Command cellbench measures what Cell's links do on this host, beside what
// the host itself can do.
//
// Without arguments it does the main job: round trips and streams over rings
// and unix sockets between two processes, in under a minute, without root. Its
// subcommands measure one thing each. docs/CELLBENCH.md explains the figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/bench"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/scratch"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// errUsage: the command line can't be obeyed; its text was not printed yet.
var errUsage = errors.New("wrong usage")

// command is one subcommand; this table is also what help prints.
type command struct {
	name  string
	short string
	args  string
	run   func(ctx context.Context, args []string) error
}

func commands() []command {
	return []command{
		{"suite", "the main job: everything below that fits into a minute (the default)", "[--out DIR] [flags]", runSuite},
		{"rtt", "round trips between two processes, beside a bare cache line", "[flags]", runRTT},
		{"stream", "one way, as fast as it goes or by a schedule; or a file's bytes", "[flags]", runStream},
		{"fanin", "calls from many connections into one engine", "[flags]", runFanIn},
		{"rpc", "typed calls and events of a topic, beside a bare cache line", "[flags]", runRPC},
		{"spawn", "cells started in each kind of sandbox, each answering once", "[flags]", runSpawn},
		{"limit", "what this pair of cores can do without any of Cell's code", "[flags]", runLimit},
		{"jitter", "what the host steals from a spinning core, and how to mend it", "[flags]", runJitter},
		{"veth", "rtt or stream between two network namespaces with veth between them: AF_XDP and UDP", "-- rtt|stream [flags]", runVeth},
		{"compare", "differences between two result files, with their spread", "A.json B.json", runCompare},
	}
}

func main() { os.Exit(profiled(os.Args[1:])) }

func run(args []string) int {
	if len(args) > 0 && args[0] == bench.PeerArg {
		return bench.PeerMain()
	}
	if len(args) > 0 && args[0] == scratch.Arg {
		return scratch.Main(args[1:])
	}
	if len(args) > 0 && args[0] == spawnArg {
		return spawnCell()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second ctrl-C ends the program at once
	name, rest := "suite", args
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, rest = args[0], args[1:]
	} else if len(args) > 0 && (args[0] == "-h" || args[0] == "-help" || args[0] == "--help") {
		name = "help"
	}
	if name == "help" {
		if err := usage(os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "cellbench: %v\n", err)
			return exitFailed
		}
		return exitOK
	}
	i := slices.IndexFunc(commands(), func(c command) bool { return c.name == name })
	if i < 0 {
		fmt.Fprintf(os.Stderr, "cellbench: %v: no command %q\n\n", errUsage, name)
		_ = usage(os.Stderr)
		return exitUsage
	}
	err := commands()[i].run(ctx, rest)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		return exitOK // parseFlags has printed it
	case errors.Is(err, errUsage), errors.Is(err, bench.ErrSpec):
		fmt.Fprintf(os.Stderr, "cellbench %s: %v\nSee cellbench %s --help.\n", name, err, name)
		return exitUsage
	case ctx.Err() != nil:
		fmt.Fprintf(os.Stderr, "cellbench %s: interrupted\n", name)
		return exitFailed
	}
	fmt.Fprintf(os.Stderr, "cellbench %s: %v\n", name, err)
	return exitFailed
}

func usage(out io.Writer) error {
	var w strings.Builder
	fmt.Fprint(&w, "cellbench measures Cell's links beside what this host itself can do.\n\nusage: cellbench [command] [flags]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(&w, "  %-8s %s\n", c.name, c.short)
	}
	fmt.Fprint(&w, "\ncellbench COMMAND --help lists a command's flags.\n"+
		"Exit status: 0 measured, 1 failed (or digests differed, or results differ in kind), 2 wrong usage.\n")
	_, err := io.WriteString(out, w.String())
	return err
}
