package view_test

import (
	"fmt"

	"github.com/cell-runtime/cell/schema/view"
)

// Generated builders and views do this: a message of one string and a list of
// numbers, {block length, reference, reference} and then the parts.
func Example() {
	place := make([]byte, 64) // such as one that a link has claimed
	var a view.Arena
	if err := a.Begin(place, 20); err != nil {
		fmt.Println(err)
		return
	}
	copy(place, []byte{20, 0, 0, 0})
	a.PutString(place[4:12], "hello")
	view.PutSlice(&a, place[12:20], []uint16{7, 8, 9})
	n, err := a.Finish()
	if err != nil {
		fmt.Println(err)
		return
	}
	msg := place[:n]
	list := view.SliceOver[uint16](view.Elements(msg, msg[12:20], 2), view.Lease{})
	fmt.Println(n, string(view.Text(msg, msg[4:12])), list.AppendTo(nil))
	// Output: 32 hello [7 8 9]
}
