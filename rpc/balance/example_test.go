package balance_test

import (
	"context"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/rpc/balance"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/wire"
)

// One client over two instances, of which one is lost.
func Example() {
	a, b := &scripted{sum: 3}, &scripted{sum: 3} // in real life, of rpc.Connect
	both, err := balance.New(balance.Options{Strategy: balance.PowerOfTwo, ProbeMin: time.Minute},
		balance.Instance{Name: "a", Caller: a},
		balance.Instance{Name: "b", Caller: b})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer both.Close()
	a.fails(wire.StatusPeerGone)
	client := arith.NewArithClient(both)
	for range 20 {
		if _, err := client.Add(context.Background(), arith.AddRequest{A: 1, B: 2}); err != nil {
			fmt.Println(err)
		}
	}
	for _, i := range both.Instances() {
		fmt.Println(i.Name, i.Why)
	}
	// Output:
	// a peer gone
	// b <nil>
}
