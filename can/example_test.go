package can_test

import (
	"context"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/can"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// Two nodes on a bus in memory. With OpenInterface instead of the model the
// same program runs over can0.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	model := can.NewModel(can.ModelConfig{FD: true})
	gateway, err := can.NewNode(model.Open(1), can.Config{Node: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gateway.Close()
	const temperature = 0x1122334455667788 // a fingerprint
	sensor, err := can.NewNode(model.Open(5), can.Config{Node: 5, Routes: []uint64{temperature}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sensor.Close()

	// Neither is client or server: whoever dials, the other accepts.
	there, err := gateway.Dial(ctx, 5)
	if err != nil {
		fmt.Println(err)
		return
	}
	here, err := sensor.Accept(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	send(here, wire.Header{Fingerprint: temperature, Kind: wire.KindEvent}, []byte("21 °C"))
	fmt.Println(receive(there))
	// Output: 1122334455667788: 21 °C
}

func send(l link.Link, h wire.Header, payload []byte) {
	var v [1]wire.Vesicle
	if _, err := l.Claim(v[:], len(payload)); err != nil {
		fmt.Println(err)
		return
	}
	copy(v[0].Payload, payload)
	v[0].Header = h
	if err := l.Commit(v[:]); err != nil {
		fmt.Println(err)
		return
	}
	if err := l.Flush(); err != nil {
		fmt.Println(err)
	}
}

func receive(l link.Link) string {
	var v [1]wire.Vesicle
	for {
		n, err := l.Poll(v[:])
		if err != nil {
			return err.Error()
		}
		if n == 1 {
			defer l.Release(1)
			return fmt.Sprintf("%x: %s", v[0].Header.Fingerprint, v[0].Payload)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// How many frames a vesicle takes.
func ExampleForm_Frames() {
	settled := can.Form{Plain: true, Routed: true, Foreseen: true, Usual: true}
	first := can.Form{Plain: true}
	for _, n := range []int{0, 7, 8, 100} {
		fmt.Println(n, settled.Frames(n, can.ClassicData), first.Frames(n, can.ClassicData), settled.Frames(n, can.FDData))
	}
	// Output:
	// 0 1 3 1
	// 7 1 4 1
	// 8 2 4 1
	// 100 14 15 2
}
