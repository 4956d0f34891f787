package balance_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/balance"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/wire"
)

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]balance.Options{
		"unknown strategy":  {Strategy: 99},
		"load below 1":      {Load: 0.5},
		"load is no number": {Load: math.NaN(), Strategy: balance.Sticky},
		"no failures":       {Failures: -1},
		"many failovers":    {Failovers: 8},
		"probes too often":  {ProbeMin: 1},
		"probes reversed":   {ProbeMin: 2e9, ProbeMax: 1e9},
		"health too often":  {HealthEvery: 1},
	} {
		if b, err := balance.New(o); !errors.Is(err, balance.ErrOptions) {
			t.Errorf("%s: %v", name, err)
			_ = b.Close()
		}
	}
	b, _ := over(t, 1, balance.Options{})
	for name, err := range map[string]error{
		"no name":      b.Add(balance.Instance{Caller: &scripted{}}),
		"no caller":    b.Add(balance.Instance{Name: "a"}),
		"name taken":   b.Add(balance.Instance{Name: "0", Caller: &scripted{}}),
		"nobody there": b.Remove("a"),
		"bad in New":   second(balance.New(balance.Options{}, balance.Instance{})),
	} {
		if !errors.Is(err, balance.ErrInstance) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_ = b.Close()
	if err := b.Add(balance.Instance{Name: "a", Caller: &scripted{}}); !errors.Is(err, balance.ErrClosed) {
		t.Error(err)
	}
	if _, err := call(soon(t), b, add); !errors.Is(err, wire.StatusUnavailable) {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestRoundRobin(t *testing.T) {
	b, all := over(t, 3, balance.Options{})
	for range 30 {
		if _, err := call(soon(t), b, add); err != nil {
			t.Fatal(err)
		}
	}
	for k, i := range all {
		if i.calls.Load() != 10 {
			t.Errorf("instance %d got %d of 30 calls", k, i.calls.Load())
		}
	}
}

// One of four instances is stuck: those that look at calls under way must keep
// away from it.
func TestLoadIsLookedAt(t *testing.T) {
	for _, s := range []balance.Strategy{balance.LeastOutstanding, balance.PowerOfTwo} {
		t.Run(s.String(), func(t *testing.T) {
			b, all := over(t, 4, balance.Options{Strategy: s})
			free := make(chan struct{})
			all[2].ends(func(context.Context) error { <-free; return nil })
			var stuck sync.WaitGroup
			for made := range int64(200) {
				if all[2].calls.Load() > 0 {
					break
				}
				stuck.Go(func() { _, _ = call(context.Background(), b, add) })
				until(t, "the call", func() bool {
					n := int64(0)
					for _, i := range all {
						n += i.calls.Load()
					}
					return n == made+1
				})
			}
			until(t, "one call is stuck", func() bool { return all[2].calls.Load() > 0 })
			before := all[2].calls.Load()
			for range 300 {
				if k, err := call(soon(t), b, add); err != nil || k == 2 {
					t.Fatal(k, err)
				}
			}
			if all[2].calls.Load() != before {
				t.Error("calls went to the busy instance")
			}
			for k, i := range all {
				if k != 2 && i.calls.Load() < 30 {
					t.Errorf("instance %d got only %d of 300 calls", k, i.calls.Load())
				}
			}
			close(free)
			stuck.Wait()
			for _, state := range b.Instances() {
				if state.Outstanding != 0 {
					t.Errorf("%s still has %d calls under way", state.Name, state.Outstanding)
				}
			}
		})
	}
}

// where returns to which instance each key goes.
func where(t *testing.T, b *balance.Balancer, keys int) []int64 {
	t.Helper()
	at := make([]int64, keys)
	for k := range at {
		at[k] = ok[int64](t)(call(balance.WithKey(soon(t), fmt.Sprint("key", k)), b, add))
	}
	return at
}

func TestSticky(t *testing.T) {
	const keys, n = 2000, 5
	b, all := over(t, n, balance.Options{Strategy: balance.Sticky})
	first := where(t, b, keys)
	share := make([]int, n)
	for _, i := range first {
		share[i]++
	}
	for i, s := range share {
		if s < keys/n*3/4 || s > keys/n*5/4 {
			t.Errorf("instance %d has %d of %d keys", i, s, keys)
		}
	}
	same := func(a, b []int64, but int64) (moved int) {
		for k := range a {
			if a[k] != b[k] {
				if a[k] != but && b[k] != but {
					t.Fatalf("key %d moved from %d to %d", k, a[k], b[k])
				}
				moved++
			}
		}
		return moved
	}
	if moved := same(first, where(t, b, keys), -1); moved != 0 {
		t.Errorf("%d keys moved without a reason", moved)
	}
	if err := b.Remove("3"); err != nil {
		t.Fatal(err)
	}
	if moved := same(first, where(t, b, keys), 3); moved != share[3] {
		t.Errorf("%d keys moved when an instance with %d left", moved, share[3])
	}
	// It comes back in another place, and gets its own keys again.
	if err := b.Add(balance.Instance{Name: "3", Caller: all[3]}); err != nil {
		t.Fatal(err)
	}
	if moved := same(first, where(t, b, keys), -1); moved != 0 {
		t.Errorf("%d keys did not return", moved)
	}
	// Without a key any instance will do.
	if _, err := call(soon(t), b, add); err != nil {
		t.Error(err)
	}
}

// One key that everybody wants must not put all load on one instance.
func TestStickyBoundsLoad(t *testing.T) {
	for _, c := range []struct {
		load float64
		most int
	}{{1.25, 13}, {2, 20}, {-1, 40}} {
		b, all := over(t, 4, balance.Options{Strategy: balance.Sticky, Load: c.load})
		free := make(chan struct{})
		for _, i := range all {
			i.ends(func(context.Context) error { <-free; return nil })
		}
		ctx := balance.WithKey(context.Background(), "hot")
		var callers sync.WaitGroup
		for n := range int64(40) {
			callers.Go(func() { _, _ = call(ctx, b, add) })
			until(t, "the call", func() bool {
				sum := int64(0)
				for _, i := range all {
					sum += i.calls.Load()
				}
				return sum == n+1
			})
		}
		most := 0
		for _, s := range b.Instances() {
			most = max(most, s.Outstanding)
		}
		if most != c.most {
			t.Errorf("with load %v the busiest of 4 instances has %d of 40 calls, want %d", c.load, most, c.most)
		}
		close(free)
		callers.Wait()
	}
}

func TestKeyFromRequest(t *testing.T) {
	key := func(_ context.Context, _ *rpc.Method, req rpc.Encoder) (uint64, bool) {
		r, ok := req.(arith.AddRequest)
		return uint64(r.A), ok
	}
	b, all := over(t, 4, balance.Options{Strategy: balance.Sticky, Key: key})
	for range 20 {
		if _, err := call(soon(t), b, add); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range all {
		if n := i.calls.Load(); n != 0 && n != 20 {
			t.Fatal("calls with one key went to several instances")
		}
	}
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	req, reply := &arith.AddRequest{}, &arith.AddReply{}
	ctx := balance.WithKey(context.Background(), "key")
	for s := balance.RoundRobin; s <= balance.Sticky; s++ {
		b := overNothing(t, 4, s)
		if n := testing.AllocsPerRun(1000, func() { _ = b.Call(ctx, add, req, reply) }); n != 0 {
			t.Errorf("%v: %v allocations a call", s, n)
		}
	}
}

// nothing is an instance that does nothing.
type nothing struct{ rpc.Caller }

func (nothing) Call(context.Context, *rpc.Method, rpc.Encoder, rpc.Decoder) error { return nil }

func overNothing(t testing.TB, n int, s balance.Strategy) *balance.Balancer {
	b := ok[*balance.Balancer](t)(balance.New(balance.Options{Strategy: s}))
	t.Cleanup(func() { _ = b.Close() })
	for k := range n {
		if err := b.Add(balance.Instance{Name: fmt.Sprint(k), Caller: nothing{}}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func BenchmarkBalance(b *testing.B) {
	req, reply := &arith.AddRequest{}, &arith.AddReply{}
	ctx := balance.WithKey(context.Background(), "key")
	for _, n := range []int{2, 16} {
		for s := balance.RoundRobin; s <= balance.Sticky; s++ {
			b.Run(fmt.Sprintf("%v of %d", s, n), func(b *testing.B) {
				c := overNothing(b, n, s)
				b.ReportAllocs()
				for range b.N {
					if err := c.Call(ctx, add, req, reply); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
