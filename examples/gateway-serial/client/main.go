// Command client calls the demo board by name. Nothing in it knows that there
// is a gateway and a serial line in between.
//
//	client [-name NAME] [COMMAND]
//
// Without a command it measures once, switches the LED, and prints a stream of
// measurements; "read" measures once, "blink N" switches the LED N times and
// prints the events by which it hears of that.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/cell-runtime/cell/firmware/demo/device"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

func main() {
	name := flag.String("name", "workshop", "who serves the device")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := run(ctx, *name, flag.Args()); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, args []string) error {
	conn, err := rpc.Connect(ctx, uds.Dialer(name, &uds.Options{WaitForListener: 5 * time.Second}), nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	d := device.NewDeviceClient(conn)
	switch {
	case len(args) == 0:
		return everything(ctx, d)
	case len(args) == 1 && args[0] == "read":
		return read(ctx, d)
	case len(args) == 2 && args[0] == "blink":
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		return blink(ctx, d, n)
	}
	return errors.New("usage: client [-name NAME] [read | blink N]")
}

func read(ctx context.Context, d *device.DeviceClient) error {
	r, err := d.Read(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%.1f °C\n", float64(r.Temperature)/1000)
	return nil
}

// everything is a unary call, and a stream.
func everything(ctx context.Context, d *device.DeviceClient) error {
	if err := read(ctx, d); err != nil {
		return err
	}
	s, err := d.Sample(ctx, device.Sampling{Count: 5, Every: 20})
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		r, err := s.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		fmt.Printf("measurement %d: %.1f °C\n", r.Sequence, float64(r.Temperature)/1000)
	}
	end, err := s.Reply()
	if err != nil {
		return err
	}
	fmt.Println(end.Sent, "measurements")
	return nil
}

// blink switches the LED, and hears of it by the topic.
func blink(ctx context.Context, d *device.DeviceClient, n int) error {
	events, err := d.LedChanged(ctx, rpc.SubscribeOptions{})
	if err != nil {
		return err
	}
	defer events.Close()
	for i := range n {
		if _, err := d.SetLed(ctx, device.Led{On: i%2 == 0}); err != nil {
			return err
		}
		e, err := events.Receive()
		if err != nil {
			return err
		}
		fmt.Println("the LED is on:", e.On)
	}
	return nil
}
