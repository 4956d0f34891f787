package link_test

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/wire"
)

// One vesicle over a link: claimed, written in place, committed, flushed;
// polled, read in place, released.
func ExampleLink() {
	a, b, err := linktest.Pipe(linktest.PipeConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	defer b.Close()

	out := make([]wire.Vesicle, 1)
	if _, err := a.Claim(out, len("hello")); err != nil {
		fmt.Println(err)
		return
	}
	copy(out[0].Payload, "hello")
	out[0].Header = wire.Header{Kind: wire.KindEvent, Fingerprint: 7}
	if err := errors.Join(a.Commit(out), a.Flush()); err != nil {
		fmt.Println(err)
		return
	}

	in := make([]wire.Vesicle, 8)
	n, err := b.Poll(in)
	for _, v := range in[:n] {
		fmt.Printf("%v %x: %s\n", v.Header.Kind, v.Header.Fingerprint, v.Payload)
	}
	fmt.Println(err, b.Release(n))
	// Output:
	// event 7: hello
	// <nil> <nil>
}

// A vesicle of 1,000 bytes over a link that takes 100 at once and holds four:
// Send goes on where ErrFull stopped it.
func ExampleFragmenter() {
	a, b, err := linktest.Pipe(linktest.PipeConfig{MaxPayload: 100, Slots: 4})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	defer b.Close()
	sender, err := link.NewFragmenter(a, a.Info().MaxPayload)
	if err != nil {
		fmt.Println(err)
		return
	}
	receiver, err := link.NewReassembler(link.ReassemblyLimits{Message: 1 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}

	start, in := time.Now(), make([]wire.Vesicle, 8)
	receive := func() {
		n, _ := b.Poll(in)
		for i := range in[:n] {
			whole, err := receiver.Add(&in[i], int64(time.Since(start)))
			if whole || err != nil {
				fmt.Println(in[i].Header.Length, "bytes", err)
			}
		}
		_ = b.Release(n)
	}

	h := wire.Header{Kind: wire.KindEvent}
	payload := []byte(strings.Repeat("0123456789", 100))
	full := 0
	for {
		err := sender.Send(h, payload)
		if !errors.Is(err, link.ErrFull) {
			break
		}
		full++
		receive()
	}
	_ = a.Flush()
	receive()
	fmt.Println("full", full, "times")
	// Output:
	// 1000 bytes <nil>
	// full 2 times
}
