// Command postage is servers and clients of all three versions of the postage
// example. In real life they would be programs of different years.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const usage = `usage:
  postage serve [-at NAME] VERSION…               serve these versions, v1 to v3
  postage ask [-at NAME,…] [-count N] [-every D] VERSION
                                                  ask as a client of this version`

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	at := flags.String("at", "postage", "name under which the server listens; a client tries several, with commas between")
	count := flags.Int("count", 1, "how often to ask")
	every := flags.Duration("every", time.Millisecond, "time between two questions")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	var chosen []version
	for _, name := range flags.Args() {
		v, err := versionOf(name)
		if err != nil {
			return err
		}
		chosen = append(chosen, v)
	}
	switch {
	case args[0] == "serve" && len(chosen) > 0:
		return serve(ctx, *at, chosen)
	case args[0] == "ask" && len(chosen) == 1:
		return ask(ctx, strings.Split(*at, ","), chosen[0], *count, *every)
	}
	return errors.New(usage)
}

func versionOf(name string) (version, error) {
	for _, v := range versions {
		if v.name == name {
			return v, nil
		}
	}
	return version{}, fmt.Errorf("there is no version %q\n%s", name, usage)
}
