package node_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cell-runtime/cell/can"
	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/examples/math"
	"github.com/cell-runtime/cell/examples/versions/v1"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/node"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/serial"
	"github.com/cell-runtime/cell/wire"
)

// line is a serial line on which a device can be plugged in and out.
type line struct {
	t    *testing.T
	path string // a link to the tty that is there
}

func (l line) plug() (master *os.File) {
	l.t.Helper()
	master, slave, err := serial.OpenPTY()
	if err != nil {
		l.t.Fatal(err)
	}
	_ = os.Remove(l.path)
	if err := os.Symlink(slave.Name(), l.path); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = slave.Close(); _ = master.Close() })
	return master
}

type calculator struct{}

func (calculator) Divide(_ context.Context, req math.Division) (math.Quotient, error) {
	return math.Quotient{Value: req.Dividend / req.Divisor, Remainder: req.Dividend % req.Divisor}, nil
}

func (calculator) Mean(context.Context, math.Values) (math.Mean, error) {
	return math.Mean{}, wire.StatusUnimplemented
}

// serveOn serves Math on a line until stopped.
func serveOn(t *testing.T, master *os.File) (stop func()) {
	t.Helper()
	stopServing := serveBy(t, serial.Acceptor(func(ctx context.Context) (*serial.Conn, error) {
		return serial.Connect(ctx, master, nil)
	}))
	return func() { stopServing(); _ = master.Close() }
}

// serveBy serves Math to those that come until stopped.
func serveBy(t *testing.T, accept rpc.AcceptFunc) (stop func()) {
	t.Helper()
	server, err := rpc.NewServer(&rpc.ServerOptions{
		Name:       "board",
		Operations: func(link.Peer, rpc.Operation) error { return nil }, // whoever is on the line may ask
	})
	if err == nil {
		err = math.RegisterMath(server, calculator{})
	}
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(engine.Config{CPU: engine.Unpinned})
	if err == nil {
		err = e.Start(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Accept(ctx, e, accept)
	}()
	return func() {
		cancel()
		_ = server.Close()
		<-ended
		e.Stop()
	}
}

// A device is called by its name like a cell, and calls cells by fingerprint,
// which starts them; it comes, goes and comes back.
func TestDevices(t *testing.T) {
	t.Parallel()
	dir, lines := privateDir(t), t.TempDir()
	file := func(path string) string {
		abs, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		return abs
	}
	board, panel := line{t, filepath.Join(lines, "board")}, line{t, filepath.Join(lines, "panel")}
	c := postage(dir, "v1", func(c *config.Cell) { c.Start = "connect" })
	c.Devices = map[string]config.Device{
		"board": {Link: "serial", Path: board.path},
		"panel": {Link: "serial", Path: panel.path, Reach: []string{"postage"}, Schema: file("../examples/versions/v3/postage.cell")},
	}
	p := c.Cells["postage"]
	p.Schema = file("../examples/versions/v1/postage.cell")
	c.Cells["postage"] = p
	r := run(t, c, nil)

	conn, err := rpc.Connect(soon(t), r.dialer("board"), &rpc.ConnOptions{Wait: rpc.WaitPark, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := math.NewMathClient(conn)
	for range 2 {
		stop := serveOn(t, board.plug())
		eventually(t, "the board answers", func() bool {
			q, err := client.Divide(soon(t), math.Division{Dividend: 47, Divisor: 5})
			return err == nil && q.Value == 9 && q.Remainder == 2
		})
		list, err := r.ops.Devices(soon(t))
		if err != nil || len(list.Devices) != 2 || !list.Devices[0].Connected || list.Devices[0].Services[0] != "Math" || list.Devices[1].Connected {
			t.Errorf("%+v, %v", list, err)
		}
		stop()
		eventually(t, "the board is gone", func() bool {
			_, err := client.Divide(soon(t), math.Division{Dividend: 47, Divisor: 5})
			return errors.Is(err, wire.StatusUnavailable)
		})
	}

	// The panel calls a cell that sleeps, whose description the node knows.
	l, err := serial.Connect(soon(t), panel.plug(), nil)
	if err != nil {
		t.Fatal(err)
	}
	caller, err := rpc.NewConn(l, &rpc.ConnOptions{Wait: rpc.WaitPark, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	if p, err := v1.NewPostageClient(caller).Quote(soon(t), v1.Parcel{Weight: 7}); err != nil || p.Amount != 7 {
		t.Errorf("the panel asked a cell: %+v, %v", p, err)
	}
	if _, err := math.NewMathClient(caller).Divide(soon(t), math.Division{Dividend: 1, Divisor: 1}); !errors.Is(err, wire.StatusUnimplemented) {
		t.Errorf("the panel reaches what is not in its reach: %v", err)
	}
	if s := r.state(); len(s.Instances) != 1 {
		t.Errorf("%+v", s)
	}
}

// What is on a CAN bus is called like a cell; it goes and comes back, and so does
// the bus.
func TestDevicesOnABus(t *testing.T) {
	model := can.NewModel(can.ModelConfig{FD: true})
	var ours atomic.Pointer[can.Port]
	node.OpenBus(func(c config.Device) (can.Bus, error) {
		p := model.Open(can.NodeID(c.Own))
		ours.Store(p)
		return p, nil
	})
	schema, err := filepath.Abs("../examples/math/math.cell")
	if err != nil {
		t.Fatal(err)
	}
	c := postage(privateDir(t), "v1", nil)
	c.Devices = map[string]config.Device{"motor": {Link: "can", Bus: "can0", Own: 1, Number: 5, Schema: schema}}
	r := run(t, c, nil)
	conn, err := rpc.Connect(soon(t), r.dialer("motor"), &rpc.ConnOptions{Wait: rpc.WaitPark, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := math.NewMathClient(conn)
	divides := func() bool {
		q, err := client.Divide(soon(t), math.Division{Dividend: 47, Divisor: 5})
		return err == nil && q.Value == 9 && q.Remainder == 2
	}
	if divides() {
		t.Error("nobody is on the bus, and it answers")
	}
	for range 2 {
		motor, err := can.NewNode(model.Open(5), can.Config{Node: 5})
		if err != nil {
			t.Fatal(err)
		}
		stop := serveBy(t, func(ctx context.Context) (link.Link, error) { return motor.Accept(ctx) })
		eventually(t, "the motor answers", divides)
		lost := ours.Load()
		_ = lost.Close()
		eventually(t, "the motor answers on the bus opened anew", func() bool { return ours.Load() != lost && divides() })
		list, err := r.ops.Devices(soon(t))
		if err != nil || len(list.Devices) != 1 || !list.Devices[0].Connected || list.Devices[0].Place != "can0, number 5" {
			t.Errorf("%+v, %v", list, err)
		}
		stop()
		_ = motor.Close()
		eventually(t, "the motor is gone", func() bool {
			_, err := client.Divide(soon(t), math.Division{Dividend: 47, Divisor: 5})
			return errors.Is(err, wire.StatusUnavailable)
		})
	}
}

func TestDevicesThatCantBe(t *testing.T) {
	for name, c := range map[string]struct {
		device config.Device
		want   string
	}{
		"no link":                 {config.Device{}, "\"\" is not one of serial, can"},
		"no tty":                  {config.Device{Link: "serial", Path: "ttyUSB0"}, "not the absolute path of a tty"},
		"a bus for a line":        {config.Device{Link: "serial", Path: "/dev/ttyS0", Bus: "can0"}, "devices.x.bus: link \"serial\" has no such setting"},
		"the node's own number":   {config.Device{Link: "can", Bus: "can0", Number: 3, Own: 3}, "they must differ"},
		"a number beyond the bus": {config.Device{Link: "can", Bus: "can0", Number: 127}, "0 to 126"},
		"no such cell":            {config.Device{Link: "serial", Path: "/dev/ttyS0", Reach: []string{"nobody"}}, "there is no cell \"nobody\""},
	} {
		t.Run(name, func(t *testing.T) {
			all := postage("/run/x", "v1", nil)
			all.Devices = map[string]config.Device{"x": c.device}
			if err := all.Check(); !errors.Is(err, config.ErrConfig) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
