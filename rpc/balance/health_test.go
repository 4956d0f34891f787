package balance_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/balance"
	"github.com/cell-runtime/cell/wire"
)

func remote(s wire.Status) error { return &rpc.Error{Status: s, Remote: true} }

// TestLeftOut is about what takes an instance out, and what does not.
func TestLeftOut(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		after int64 // calls that it gets until it is left out; 0: never
	}{
		{"link lost", wire.StatusPeerGone, 1},
		{"link can't be opened", wire.StatusUnavailable, 1},
		{"it drains", remote(wire.StatusDraining), 1},
		{"it says that it can't", remote(wire.StatusUnavailable), 3},
		{"it hangs", wire.StatusDeadlineExceeded, 3},
		{"it is overloaded", remote(wire.StatusResourceExhausted), 3},
		{"handlers panic", remote(wire.StatusInternal), 3},
		{"handlers fail", remote(wire.StatusUnknown), 0},
		{"errors of the application", remote(wire.StatusNotFound), 0},
		{"a limit on this side", &rpc.Error{Status: wire.StatusResourceExhausted}, 0},
		{"callers give up", wire.StatusCanceled, 0},
	} {
		b, all := over(t, 2, balance.Options{ProbeMin: time.Hour, ProbeMax: time.Hour})
		all[0].fails(c.err)
		for range 20 {
			_, _ = call(soon(t), b, echo)
		}
		want := c.after
		if want == 0 {
			want = 10
		}
		state := b.Instances()[0]
		if n := all[0].calls.Load(); state.In != (c.after == 0) || n < want || c.after > 0 && n > want || (state.Why != nil) == state.In {
			t.Errorf("%s: it takes part: %v (%v), and got %d of 20 calls", c.name, state.In, state.Why, n)
		}
	}
}

func TestSuccessForgivesFailures(t *testing.T) {
	b, all := over(t, 1, balance.Options{})
	for n := range 30 {
		all[0].fails(nil)
		if n%3 != 0 {
			all[0].fails(wire.StatusDeadlineExceeded)
		}
		_, _ = call(soon(t), b, add)
	}
	if !b.Instances()[0].In {
		t.Fatal("two failures in a row took it out")
	}
}

func TestFailover(t *testing.T) {
	for _, c := range []struct {
		name       string
		err        error
		idempotent bool // an idempotent call goes on to another
		other      bool // and one that isn't
	}{
		{"not sent", wire.StatusUnavailable, true, true},
		{"drains", remote(wire.StatusDraining), true, true},
		{"overloaded", remote(wire.StatusResourceExhausted), true, true},
		{"perhaps executed", wire.StatusPeerGone, true, false},
		{"time is up", wire.StatusDeadlineExceeded, false, false},
		{"application's", remote(wire.StatusNotFound), false, false},
	} {
		for _, m := range []*rpc.Method{add, echo} {
			for s := balance.RoundRobin; s <= balance.Sticky; s++ {
				b, all := over(t, 2, balance.Options{Strategy: s, ProbeMin: time.Hour, ProbeMax: time.Hour})
				all[0].fails(c.err)
				went := true
				for n := 0; all[0].calls.Load() == 0 && n < 1000; n++ {
					_, err := call(balance.WithKey(soon(t), time.Duration(n).String()), b, m)
					went = err == nil
				}
				want := c.other
				if m.Idempotent {
					want = c.idempotent
				}
				if went != want {
					t.Errorf("%s, %v, %v: the call went on: %v", c.name, m, s, went)
				}
			}
		}
	}
}

func TestAllAreOut(t *testing.T) {
	b, all := over(t, 3, balance.Options{ProbeMin: time.Hour, ProbeMax: time.Hour})
	for _, i := range all {
		i.fails(wire.StatusUnavailable)
	}
	_, err := call(soon(t), b, add) // at all three
	if !errors.Is(err, wire.StatusUnavailable) {
		t.Fatal(err)
	}
	_, err = call(soon(t), b, add)
	var e *rpc.Error
	if !errors.As(err, &e) || e.Status != wire.StatusUnavailable || e.Remote {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.calls.Load() != 1 {
			t.Fatal("an instance that is out was called")
		}
	}
}

// An instance that can't be asked comes back on trial: one failure and it is
// out again, for longer.
func TestComesBackWithoutHealth(t *testing.T) {
	b, all := over(t, 2, balance.Options{ProbeMin: time.Millisecond, ProbeMax: 4 * time.Millisecond})
	all[0].fails(wire.StatusPeerGone)
	until(t, "it is tried again and again", func() bool {
		_, _ = call(soon(t), b, add)
		return all[0].calls.Load() >= 4
	})
	all[0].fails(nil)
	until(t, "it takes part", func() bool {
		n := all[0].calls.Load()
		for range 10 {
			if _, err := call(soon(t), b, add); err != nil {
				t.Fatal(err)
			}
		}
		return all[0].calls.Load() == n+5
	})
}

func TestComesBackWhenHealthIsGood(t *testing.T) {
	b, _ := over(t, 1, balance.Options{ProbeMin: time.Millisecond, ProbeMax: 2 * time.Millisecond})
	var well atomic.Bool
	var asked atomic.Int64
	sick := &scripted{sum: 1}
	sick.fails(wire.StatusPeerGone)
	err := b.Add(balance.Instance{Name: "sick", Caller: sick, Health: func(context.Context) error {
		asked.Add(1)
		if well.Load() {
			return nil
		}
		return errors.New("not well")
	}})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "it is out", func() bool { _, _ = call(soon(t), b, add); return !b.Instances()[1].In })
	until(t, "it is asked", func() bool { return asked.Load() > 3 })
	if n := sick.calls.Load(); n != 1 {
		t.Fatalf("it got %d calls while it was out", n)
	}
	sick.fails(nil)
	well.Store(true)
	until(t, "it is back", func() bool { return b.Instances()[1].In })
}

// A question that hangs must not keep the others from being asked.
func TestHealthThatHangs(t *testing.T) {
	b, _ := over(t, 0, balance.Options{HealthEvery: time.Millisecond, ProbeMin: time.Millisecond, ProbeTimeout: 200 * time.Millisecond})
	var asked atomic.Int64
	if err := b.Add(balance.Instance{Name: "hangs", Caller: &scripted{}, Health: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(balance.Instance{Name: "well", Caller: &scripted{}, Health: func(context.Context) error { asked.Add(1); return nil }}); err != nil {
		t.Fatal(err)
	}
	until(t, "the other is asked often", func() bool { return asked.Load() > 10 })
	until(t, "the one that hangs is out", func() bool { return !b.Instances()[0].In })
	if !b.Instances()[1].In {
		t.Error("the other is out")
	}
}

// TestDrain has a real server drain without any call noticing: the operations
// channel tells.
func TestDrain(t *testing.T) {
	b, _ := over(t, 0, balance.Options{HealthEvery: 2 * time.Millisecond})
	servers := map[string]*rpc.Server{}
	for _, name := range []string{"a", "b"} {
		s, _, e := serve(t)
		servers[name] = s
		conn := ok[*rpc.Conn](t)(rpc.Connect(soon(t), func(context.Context) (link.Link, error) {
			near, far, err := linktest.Pipe(linktest.PipeConfig{})
			if err != nil {
				return nil, err
			}
			return far, s.Serve(e, near)
		}, nil))
		t.Cleanup(func() { _ = conn.Close() })
		if err := b.Add(balance.Instance{Name: name, Caller: conn}); err != nil {
			t.Fatal(err)
		}
	}
	if err := servers["a"].Drain(soon(t)); err != nil {
		t.Fatal(err)
	}
	until(t, "it is left out", func() bool { return !b.Instances()[0].In })
	for range 20 {
		if sum, err := call(soon(t), b, add); err != nil || sum != 3 {
			t.Fatal(sum, err)
		}
	}
	until(t, "the other has counted", func() bool { return servers["b"].Stats().Requests >= 20 })
	if !b.Instances()[1].In {
		t.Error("the other is out")
	}
}
