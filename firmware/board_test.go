package firmware_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/cell-runtime/cell/firmware/firmwaretest"
	"github.com/cell-runtime/cell/serial"
)

// boot starts the demo and returns the other end of its UART, a PTY.
func boot(t testing.TB) *os.File {
	t.Helper()
	master, slave, err := serial.OpenPTY()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	firmwaretest.Start(t, firmwaretest.Build(t, "demo.elf"), "serial,path="+slave.Name())
	return master
}

// bootTTY starts the demo with its UART on a tty and returns that one's path.
func bootTTY(t testing.TB) (b *firmwaretest.Board, path string) {
	t.Helper()
	return firmwaretest.StartTTY(t, firmwaretest.Build(t, "demo.elf"))
}

// connect shakes hands with the device.
func connect(t testing.TB, s serial.Stream, o *serial.Options) *serial.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := serial.Connect(ctx, s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
