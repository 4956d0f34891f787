// Command gateway puts the services of a device on a serial line among a
// host's: callers find them under the gateway's name, beside what it serves
// itself, and call them as they would any other.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/examples/math"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/forward"
	"github.com/cell-runtime/cell/serial"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// options are what the command line says.
type options struct {
	name   string
	tty    string
	mode   serial.Mode
	schema string
}

func main() {
	var o options
	flag.StringVar(&o.name, "name", "workshop", "name to listen under")
	flag.StringVar(&o.tty, "device", "", "the tty that the device is at; it may come later, go and come back")
	flag.IntVar(&o.mode.Baud, "baud", 115200, "bits a second on the line")
	flag.BoolVar(&o.mode.RTSCTS, "rtscts", false, "hardware flow control")
	flag.StringVar(&o.schema, "schema", "", "description of what the device serves (NAME.cell); without one the device is asked")
	flag.Parse()
	if o.tty == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: gateway -device TTY [-schema NAME.cell] [-name NAME] [-baud N] [-rtscts]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, o options, log *slog.Logger) error {
	e, err := engine.New(engine.Config{Name: "gateway", CPU: engine.Unpinned, Logger: log})
	if err != nil {
		return err
	}
	if err := e.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	defer e.Stop()
	f, err := forward.New(e, &forward.Options{Logger: log})
	if err != nil {
		return err
	}
	server, err := rpc.NewServer(&rpc.ServerOptions{Name: o.name, Relay: f, Logger: log})
	if err != nil {
		return err
	}
	defer server.Close()
	if err := math.RegisterMath(server, calculator{}); err != nil {
		return err
	}
	d := &device{options: o, server: server, target: f.NewTarget("the device at " + o.tty)}
	if err := d.announceFile(); err != nil {
		return err
	}
	l, err := uds.Listen(o.name, nil)
	if err != nil {
		return err
	}
	defer l.Close()
	kept := make(chan error, 1)
	go func() { kept <- d.target.Keep(ctx, d.dial, d.ask) }()
	err = server.Accept(ctx, e, l.AcceptLink)
	finish(server, f)
	<-kept
	return err
}

// finish lets calls under way end, for a while.
func finish(server *rpc.Server, f *forward.Forwarder) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = server.Drain(ctx)
	_ = f.Drain(ctx)
}

// device is what is on the line.
type device struct {
	options
	server *rpc.Server
	target *forward.Target
}

// dial opens the line; it waits for the device for as long as it takes.
func (d *device) dial(ctx context.Context) (link.Link, error) {
	return serial.Dial(ctx, d.tty, d.mode, nil)
}

// announce puts services of the device among the host's.
func (d *device) announce(text string) error {
	services, err := rpc.ParseServices(text)
	if err != nil {
		return err
	}
	for _, s := range services {
		if err := errors.Join(d.target.Serve(s), d.server.Announce(s)); err != nil {
			return err
		}
	}
	return nil
}

// announceFile announces what the description given says. That is known before
// the device is there, so that callers hear "unavailable" and not
// "unimplemented" meanwhile.
func (d *device) announceFile() error {
	if d.schema == "" {
		return nil
	}
	text, err := os.ReadFile(d.schema)
	if err == nil {
		err = d.announce(string(text))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d.schema, err)
	}
	return nil
}

// askPatience bounds what a device may take to describe itself.
const askPatience = 5 * time.Second

// ask has a device that can describe itself do so, where no description was
// given. Microcontrollers can't.
func (d *device) ask(ctx context.Context, l link.Link) error {
	if d.schema != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	conn, err := rpc.NewConn(borrowed{l}, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	all, err := conn.List(ctx)
	switch {
	case errors.Is(err, wire.StatusUnimplemented):
		return fmt.Errorf("the device does not describe itself: start the gateway with -schema: %w", err)
	case errors.Is(err, wire.StatusPermissionDenied):
		return fmt.Errorf("the device does not describe itself to this line: start the gateway with -schema, or have the device's ServerOptions.Operations allow it: %w", err)
	case err != nil:
		return err
	}
	for _, s := range all {
		text, err := conn.Describe(ctx, s.Name)
		if err == nil {
			err = d.announce(text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// borrowed is a link that stays open when whoever borrowed it is done.
type borrowed struct{ link.Link }

func (borrowed) Shutdown()    {}
func (borrowed) Close() error { return nil }
