package wire_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/wire"
)

func Example() {
	// A request that must be answered within a millisecond: the budget stands
	// before the payload proper and counts as payload.
	h := wire.Header{
		Kind: wire.KindRequest, Flags: wire.FlagDeadline.WithPriority(1),
		Fingerprint: 0x0123456789abcdef, Correlation: 7, Hops: 8,
		Length: wire.DeadlineSize + 5,
	}
	vesicle := h.Append(nil)
	var budget [wire.DeadlineSize]byte
	wire.PutDeadline(&budget, uint64(time.Millisecond))
	vesicle = append(vesicle, budget[:]...)
	vesicle = append(vesicle, "hello"...)

	got, err := wire.Decode(vesicle)
	if err != nil {
		fmt.Println(err)
		return
	}
	payload := vesicle[wire.HeaderSize:][:got.Length]
	left := wire.Deadline((*[wire.DeadlineSize]byte)(payload))
	fmt.Printf("%v %d, priority %d, %v left: %s\n", got.Kind, got.Correlation,
		got.Flags.Priority(), time.Duration(left), payload[wire.DeadlineSize:])
	// Output: request 7, priority 1, 1ms left: hello
}

func ExampleDecode_invalid() {
	_, err := wire.Decode(make([]byte, wire.HeaderSize))
	fmt.Println(errors.Is(err, wire.ErrVersion))
	// Output: true
}

func ExampleErrorPayload() {
	failed := wire.ErrorPayload{Status: wire.StatusNotFound, Message: "no key k"}
	got, err := wire.DecodeError(failed.Append(nil))
	fmt.Println(got.Status, "-", got.Message, err)
	fmt.Println(errors.Is(got.Status, wire.StatusNotFound))
	// Output:
	// not found - no key k <nil>
	// true
}

func ExamplePutFragment() {
	// The second of three pieces of a 100-byte payload.
	var b [wire.FragmentSize]byte
	wire.PutFragment(&b, wire.Fragment{Total: 100, Offset: 40, Sequence: 1})
	f, err := wire.GetFragment(&b, 40)
	fmt.Println(f.Offset, f.Total, err)
	_, err = wire.GetFragment(&b, 61)
	fmt.Println(err)
	// Output:
	// 40 100 <nil>
	// wire: fragment is empty or lies outside the length it announces
}
