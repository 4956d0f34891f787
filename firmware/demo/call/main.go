// Call talks to the demo board: it measures once, switches the LED, and prints a
// stream of measurements.
//
//	go run ./firmware/demo/call [-baud N] /dev/pts/3
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cell-runtime/cell/firmware/demo/device"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/serial"
)

func main() {
	baud := flag.Int("baud", 0, "bits a second (115200)")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: call [-baud N] TTY")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := run(ctx, flag.Arg(0), serial.Mode{Baud: *baud}, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, tty string, mode serial.Mode, out io.Writer) error {
	conn, err := rpc.Connect(ctx, func(ctx context.Context) (link.Link, error) {
		return serial.Dial(ctx, tty, mode, nil)
	}, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	d := device.NewDeviceClient(conn)

	r, err := d.Read(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d ms after its start it has %.2f °C\n", r.At, float64(r.Temperature)/1000)
	if _, err := d.SetLed(ctx, device.Led{On: true}); err != nil {
		return err
	}
	fmt.Fprintln(out, "the LED is on")
	s, err := d.Sample(ctx, device.Sampling{Count: 5, Every: 20})
	if err != nil {
		return err
	}
	for {
		r, err := s.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "measurement %d: %.2f °C\n", r.Sequence, float64(r.Temperature)/1000)
	}
	end, err := s.Reply()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d measurements\n", end.Sent)
	return s.Close()
}
