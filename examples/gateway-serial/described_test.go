package gatewayserial_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/firmware/demo/device"
	"github.com/cell-runtime/cell/firmware/firmwaretest"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/serial"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// talker is a device that describes itself: a Go program with a line, here the
// other end of a PTY. It serves what the board serves.
type talker struct {
	temperature int32
	changed     device.DeviceLedChangedPublisher
	on          atomic.Bool
}

func (d *talker) Read(context.Context) (device.Reading, error) {
	return device.Reading{Temperature: d.temperature}, nil
}

func (d *talker) SetLed(ctx context.Context, l device.Led) (device.Led, error) {
	before := d.on.Swap(l.On)
	return device.Led{On: before}, d.changed.Publish(ctx, l)
}

func (d *talker) Turn(_ context.Context, b device.Block) (r device.Block, err error) {
	for i, x := range b.Bytes {
		r.Bytes[len(r.Bytes)-1-i] = ^x
	}
	return r, nil
}

func (d *talker) Sample(_ context.Context, s device.Sampling, out rpc.Sender[device.Reading]) (device.Sampled, error) {
	for i := range s.Count {
		if err := out.Send(device.Reading{Sequence: i}); err != nil {
			return device.Sampled{Sent: i}, err
		}
	}
	return device.Sampled{Sent: s.Count}, nil
}

func (*talker) LedChanged(device.Led) {}

// again opens the device's end of the line once more, since a connection closes
// its own.
func again(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// talk plugs a talker in at path. unplug takes it away as pulling a cable does.
func talk(t *testing.T, path string, temperature int32) (unplug func()) {
	t.Helper()
	master, slave, err := serial.OpenPTY()
	if err != nil {
		t.Fatal(err)
	}
	d := &talker{temperature: temperature}
	server, err := rpc.NewServer(&rpc.ServerOptions{
		Name:       "talker",
		Operations: func(link.Peer, rpc.Operation) error { return nil }, // whoever is on the line may ask
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := device.RegisterDevice(server, d); err != nil {
		t.Fatal(err)
	}
	if d.changed, err = device.NewDeviceLedChangedPublisher(server); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Run(ctx, serial.Acceptor(func(ctx context.Context) (*serial.Conn, error) {
			line, err := again(master)
			if err != nil {
				return nil, err
			}
			c, err := serial.Connect(ctx, line, nil)
			if err != nil {
				return nil, errors.Join(err, line.Close())
			}
			return c, nil
		}))
	}()
	firmwaretest.Plug(t, slave.Name(), path)
	once := false
	unplug = func() {
		if once {
			return
		}
		once = true
		_ = os.Remove(path)
		_ = slave.Close()
		cancel()
		_ = master.Close()
		_ = server.Close()
		<-ended
	}
	t.Cleanup(unplug)
	return unplug
}

// A gateway that was told nothing of its device asks it: then callers find the
// device's service under the gateway's name, with its description, and call it.
// The device goes, and another one of the kind comes in its place.
func TestDeviceThatDescribesItself(t *testing.T) {
	dir, err := os.MkdirTemp("", "gw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &bench{T: t, tty: filepath.Join(dir, "tty")}
	b.start(dir, "")
	if b.conn, err = rpc.Connect(t.Context(), uds.Dialer("bench", &uds.Options{Dir: dir, WaitForListener: patience}), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	all, err := b.conn.List(ctx)
	if err != nil || len(all) != 1 || all[0].Name != "Math" {
		t.Fatalf("before there is a device the gateway has %v, %v", all, err)
	}
	unplug := talk(t, b.tty, 21_000)
	for len(all) != 2 {
		time.Sleep(10 * time.Millisecond)
		if all, err = b.conn.List(ctx); err != nil {
			t.Fatalf("the device's service does not appear: %v", err)
		}
	}
	if text, err := b.conn.Describe(ctx, "Device"); err != nil || text != device.DeviceDesc.Text {
		t.Errorf("described as %q, %v", text, err)
	}
	b.device = device.NewDeviceClient(b.conn)
	b.works()
	callEverything(t, ctx, b, 21_000)

	unplug()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		_, err := b.device.Read(ctx)
		if errors.Is(err, wire.StatusUnavailable) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("without the device: %v, want unavailable", err)
		}
	}
	if all, err = b.conn.List(ctx); err != nil || len(all) != 2 {
		t.Errorf("without the device the gateway has %v, %v; its service must stay announced", all, err)
	}
	talk(t, b.tty, 22_000)
	b.works()
	callEverything(t, ctx, b, 22_000)
}

// callEverything calls each of the device's methods, a stream and a topic.
func callEverything(t *testing.T, ctx context.Context, b *bench, temperature int32) {
	t.Helper()
	if r, err := b.device.Read(ctx); err != nil || r.Temperature != temperature {
		t.Errorf("Read: %+v, %v", r, err)
	}
	for i := range 50 {
		if err := turn(b, 3, byte(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := sample(b); !errors.Is(err, io.EOF) && err != nil {
		t.Errorf("Sample: %v", err)
	}
	events, err := b.device.LedChanged(ctx, rpc.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	for i := range 4 {
		on := i%2 == 0
		if _, err := b.device.SetLed(ctx, device.Led{On: on}); err != nil {
			t.Fatal(err)
		}
		if e, err := events.Receive(); err != nil || e.On != on {
			t.Fatalf("event %d: %+v, %v", i, e, err)
		}
	}
}
