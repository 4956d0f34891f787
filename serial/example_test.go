package serial_test

import (
	"context"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/serial"
	"github.com/cell-runtime/cell/wire"
)

// The two ends of a line, here a PTY; a device would be opened by
// serial.Dial(ctx, "/dev/serial/by-id/…", serial.Mode{Baud: 921600}, nil).
func ExampleConnect() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	master, slave, err := serial.OpenPTY()
	if err != nil {
		fmt.Println(err)
		return
	}
	device := make(chan *serial.Conn)
	go func() {
		c, err := serial.Connect(ctx, slave, nil)
		if err != nil {
			fmt.Println(err)
		}
		device <- c
	}()
	host, err := serial.Connect(ctx, master, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer host.Close()
	d := <-device
	defer d.Close()

	out := make([]wire.Vesicle, 1)
	if _, err := host.Claim(out, 5); err != nil {
		fmt.Println(err)
		return
	}
	copy(out[0].Payload, "hello")
	out[0].Header = wire.Header{Kind: wire.KindEvent, Hops: 16}
	_ = host.Commit(out)
	_ = host.Flush()

	in := make([]wire.Vesicle, 1)
	for n := 0; n == 0; {
		if n, err = d.Poll(in); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Printf("%v: %s\n", in[0].Header.Kind, in[0].Payload)
	// Output:
	// event: hello
}

// A vesicle as it stands on the line, for tools.
func ExampleAppendFrame() {
	line, err := serial.AppendFrame(nil, wire.Header{Kind: wire.KindRequest, Fingerprint: 0x0123456789abcdef, Correlation: 1, Hops: 16}, []byte("hi"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%x\n", line)
	h, payload, err := serial.DecodeFrame(line[1 : len(line)-1])
	fmt.Printf("%v %d %s %v\n", h.Kind, h.Length, payload, err)
	// Output:
	// 000b01efcdab8967452301010101076869a48eac2d00
	// request 2 hi <nil>
}
