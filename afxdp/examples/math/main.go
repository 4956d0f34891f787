// Command math serves and calls examples/math, by default over shared memory, or
// to another host over AF_XDP: everything but what listens and what dials is the
// same.
//
//	math serve [ADDRESS:PORT]
//	math call [FROM:PORT TO:PORT] NUMBER…
//
// README.md has what to do with it on one machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/examples/math"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := errors.New("usage: math serve [ADDRESS:PORT]; math call [FROM:PORT TO:PORT] NUMBER…")
	if len(os.Args) > 1 {
		switch args := os.Args[2:]; os.Args[1] {
		case "serve":
			err = serve(ctx, args)
		case "call":
			err = call(ctx, args)
		}
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

// Calls need that nothing is lost.
var reliable = afxdp.Options{Reliable: true}

// serve serves until ctx ends.
func serve(ctx context.Context, args []string) error {
	server, err := rpc.NewServer(nil)
	if err != nil {
		return err
	}
	defer server.Close()
	if err := math.RegisterMath(server, math.Calculator{}); err != nil {
		return err
	}
	if len(args) == 0 {
		l, err := uds.Listen(math.Name, nil)
		if err != nil {
			return err
		}
		defer l.Close()
		return server.Run(ctx, l.AcceptLink)
	}
	at, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return err
	}
	l, err := afxdp.Listen(at, &afxdp.ListenOptions{Options: reliable})
	if err != nil {
		return err
	}
	defer l.Close()
	return server.Run(ctx, func(ctx context.Context) (link.Link, error) {
		c, err := l.Accept(ctx)
		if err != nil {
			return nil, err
		}
		say(c)
		return c, nil
	})
}

// say tells what a connection goes over, and why.
func say(c *afxdp.Conn) {
	i := c.Info()
	log.Printf("%s to %s: %s", i.Kind, i.Peer.Addr, strings.Join(i.Why, " "))
}

// call makes one call.
func call(ctx context.Context, args []string) error {
	dial := uds.Dialer(math.Name, &uds.Options{WaitForListener: 5 * time.Second})
	if len(args) > 2 && strings.Contains(args[0], ":") {
		from, err := netip.ParseAddrPort(args[0])
		if err != nil {
			return err
		}
		to, err := netip.ParseAddrPort(args[1])
		if err != nil {
			return err
		}
		dial, args = over(from, to), args[2:]
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := rpc.Connect(ctx, dial, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	return calculate(ctx, math.NewMathClient(conn), args)
}

// over dials by AF_XDP.
func over(from, to netip.AddrPort) rpc.DialFunc {
	return func(ctx context.Context) (link.Link, error) {
		c, err := afxdp.Dial(ctx, from, to, &reliable)
		if err != nil {
			return nil, err
		}
		say(c)
		return c, nil
	}
}

// calculate is the client, which does not know what it calls over.
func calculate(ctx context.Context, client *math.MathClient, numbers []string) error {
	var all math.Values
	for _, s := range numbers {
		x, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Errorf("%q is no number", s)
		}
		all.All = append(all.All, x)
	}
	mean, err := client.Mean(ctx, all)
	if err != nil {
		return err
	}
	fmt.Printf("mean %g\n", mean.Value)
	return nil
}
