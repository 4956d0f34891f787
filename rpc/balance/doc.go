// Package balance is one rpc.Caller over several instances of a service. Each
// call goes to an instance by a strategy: in turn, to the one with the fewest
// calls under way, to the better of two drawn at random, or always to the same
// for the same key. Broadcast goes to all.
//
//	b, err := balance.New(balance.Options{Strategy: balance.PowerOfTwo},
//		balance.Instance{Name: "a", Caller: connA},
//		balance.Instance{Name: "b", Caller: connB})
//	client := NewLedgerClient(b)
//
// Instances that fail, drain or say that they are not well are left out, are
// probed while they are, and come back. They can be added and removed while
// calls are under way. A call that was not executed, or whose method is
// idempotent, goes on to another instance when its own is lost.
//
// Choosing an instance takes no lock and allocates nothing.
package balance
