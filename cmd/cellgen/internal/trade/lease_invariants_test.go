//go:build invariants

package trade

import (
	"strings"
	"testing"

	"github.com/cell-runtime/cell/schema/view"
)

func TestUsesAfterTheEndOfALeasePanic(t *testing.T) {
	order := fullOrder()
	msg := encoded(t, order)
	for name, use := range map[string]func(lease view.Lease) func(){
		"a field": func(l view.Lease) func() {
			v := ViewTick(make([]byte, TickBlock))
			v.lease = l
			return func() { v.Bid() }
		},
		"a list within": func(l view.Lease) func() {
			v := ViewOrder(msg)
			v.lease = l
			prices := v.Prices()
			return func() { prices.At(0) }
		},
		"an element of a list within": func(l view.Lease) func() {
			v := ViewOrder(msg)
			v.lease = l
			leg := v.Legs().At(0)
			return func() { leg.Symbol() }
		},
		"a list of structs": func(l view.Lease) func() {
			v := ViewOrder(msg)
			v.lease = l
			legs := v.Legs()
			return func() { legs.At(0) }
		},
		"a union": func(l view.Lease) func() {
			v := ViewOrder(msg)
			v.lease = l
			terms := v.Terms()
			return func() { terms.Tag() }
		},
		"strings": func(l view.Lease) func() {
			v := ViewOrder(msg)
			v.lease = l
			tags := v.Tags()
			return func() { tags.At(1) }
		},
		"a builder": func(l view.Lease) func() {
			b, err := BuildTick(make([]byte, TickBlock))
			if err != nil {
				t.Fatal(err)
			}
			b.lease = l
			return func() { b.SetBid(1) }
		},
		"a builder of a part": func(l view.Lease) func() {
			var a view.Arena
			b, err := BuildBook(make([]byte, 512), &a)
			if err != nil {
				t.Fatal(err)
			}
			b.lease = l
			order := b.MakeOrders(1).At(0)
			return func() { order.SetSymbol("late") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			lease := view.Lend()
			touch := use(lease)
			touch()
			lease.End()
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, "lease") {
					t.Errorf("the use was not caught: %q", text)
				}
			}()
			touch()
		})
	}
}

func TestAnEndedLeaseServesAgainWithoutReviving(t *testing.T) {
	first := view.Lend()
	first.End()
	first.End()
	second := view.Lend()
	second.Use()
	defer func() {
		if recover() == nil {
			t.Error("the ended lease came to life again")
		}
	}()
	first.Use()
}
