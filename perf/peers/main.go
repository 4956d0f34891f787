// Command peers measures Cell beside other products that carry calls and
// messages between two Go processes of one host: the same work, on the same two
// CPUs, in one interleaved run. It writes tables, pictures and every single
// measurement into perf/results, whose README.md has the method.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/cell-runtime/cell/perf/peers/internal/adapter"
	"github.com/cell-runtime/cell/perf/peers/internal/measure"
	"github.com/cell-runtime/cell/perf/peers/internal/peer"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitMore   = 3 // the budget ended before the rounds did
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	all := adapter.All()
	if len(args) > 0 && (args[0] == measure.ServeArg || args[0] == measure.CallArg) {
		return measure.Child(args[0], func(name string) (peer.Adapter, error) { return adapter.ByName(all, name) })
	}
	o, err := parse(args, all)
	switch {
	case errors.Is(err, flag.ErrHelp):
		o.usage(stdout)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "peers: %v\nSee --help.\n", err)
		return exitUsage
	case o.list:
		listPeers(stdout, all)
		return exitOK
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second ctrl-C ends the program at once
	err = o.run(ctx, stdout, stderr)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errMore):
		fmt.Fprintf(stderr, "peers: %v\n", err)
		return exitMore
	}
	fmt.Fprintf(stderr, "peers: %v\n", err)
	return exitFailed
}

func listPeers(w io.Writer, all []peer.Adapter) {
	for _, a := range all {
		fmt.Fprintf(w, "%-22s %-10s %s\n", a.Name, a.Family, a.About)
	}
}
