package balance_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/balance"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/wire"
)

// load makes calls from some goroutines until stop, and hands every error to
// bad.
func load(c rpc.Caller, m *rpc.Method, done *atomic.Int64, bad func(error)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var callers sync.WaitGroup
	for g := range int64(4) {
		callers.Go(func() {
			for n := int64(0); ctx.Err() == nil; n++ {
				bounded, end := context.WithTimeout(context.Background(), patience)
				var reply arith.AddReply
				err := c.Call(bounded, m, arith.AddRequest{A: g << 32, B: n}, &reply)
				end()
				if err == nil && reply.Sum != g<<32+n {
					err = fmt.Errorf("%d + %d = %d", g<<32, n, reply.Sum)
				}
				if err != nil {
					bad(err)
				}
				done.Add(1)
			}
		})
	}
	return func() { cancel(); callers.Wait() }
}

// TestKillUnderLoad kills an instance with SIGKILL while calls are under way
// and starts it again. Idempotent calls must all succeed, and the instance
// must get calls again.
func TestKillUnderLoad(t *testing.T) {
	dirs := []string{privateDir(t), privateDir(t), privateDir(t)}
	b, _ := over(t, 0, balance.Options{Strategy: balance.PowerOfTwo, HealthEvery: 20 * time.Millisecond})
	kills := make([]func(), len(dirs))
	for k, dir := range dirs {
		kills[k] = spawn(t, dir)
		if err := b.Add(balance.Instance{Name: fmt.Sprint(k), Caller: dial(t, dir)}); err != nil {
			t.Fatal(err)
		}
	}
	var done, bad atomic.Int64
	stop := load(b, add, &done, func(err error) {
		if bad.Add(1) < 5 {
			t.Error(err)
		}
	})
	defer stop()
	until(t, "calls", func() bool { return done.Load() > 200 })
	for round := range 3 {
		victim := round % len(dirs)
		kills[victim]()
		until(t, "the dead instance is left out", func() bool { return !b.Instances()[victim].In })
		at := done.Load()
		until(t, "calls without it", func() bool { return done.Load() > at+200 })
		kills[victim] = spawn(t, dirs[victim])
		until(t, "it is back", func() bool { return b.Instances()[victim].In })
	}
	stop()
	for _, s := range b.Instances() {
		if s.Outstanding != 0 {
			t.Errorf("%s has %d calls under way", s.Name, s.Outstanding)
		}
	}
}

// TestKillWithCallsThatAreNotIdempotent: those that were under way at the dead
// instance end with a status that says so, and are not executed elsewhere.
func TestKillWithCallsThatAreNotIdempotent(t *testing.T) {
	dirs := []string{privateDir(t), privateDir(t)}
	b, _ := over(t, 0, balance.Options{Strategy: balance.LeastOutstanding})
	kills := make([]func(), len(dirs))
	for k, dir := range dirs {
		kills[k] = spawn(t, dir)
		if err := b.Add(balance.Instance{Name: fmt.Sprint(k), Caller: dial(t, dir)}); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan error, 8)
	for range cap(ended) {
		go func() {
			_, err := arith.NewArithClient(b).Echo(context.Background(), arith.Text{Bytes: []byte("hang")})
			ended <- err
		}()
	}
	until(t, "all hang, evenly", func() bool {
		s := b.Instances()
		return s[0].Outstanding+s[1].Outstanding == cap(ended)
	})
	atFirst := b.Instances()[0].Outstanding
	kills[0]()
	for range atFirst {
		select {
		case err := <-ended:
			if !errors.Is(err, wire.StatusPeerGone) {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatal("a call at the dead instance has not ended")
		}
	}
	if n := b.Instances()[1].Outstanding; n != cap(ended)-atFirst {
		t.Fatalf("%d calls at the other instance, there were %d", n, cap(ended)-atFirst)
	}
	kills[1]()
	for range cap(ended) - atFirst {
		<-ended
	}
}

// Instances come and go while calls are under way, none of which fails.
func TestAddAndRemoveUnderLoad(t *testing.T) {
	for s := balance.RoundRobin; s <= balance.Sticky; s++ {
		t.Run(s.String(), func(t *testing.T) {
			b, _ := over(t, 0, balance.Options{Strategy: s})
			answer := func() *sums { return &sums{} }
			if err := b.Add(balance.Instance{Name: "always", Caller: answer()}); err != nil {
				t.Fatal(err)
			}
			var done atomic.Int64
			stop := load(b, add, &done, func(err error) { t.Error(err) })
			for n := range 200 {
				name := fmt.Sprint(n % 5)
				if err := b.Add(balance.Instance{Name: name, Caller: answer()}); err != nil {
					t.Fatal(err)
				}
				if err := b.Remove(name); err != nil {
					t.Fatal(err)
				}
			}
			until(t, "calls", func() bool { return done.Load() > 100 })
			stop()
		})
	}
}

// sums is an instance that adds.
type sums struct{ rpc.Caller }

func (*sums) Call(_ context.Context, _ *rpc.Method, req rpc.Encoder, reply rpc.Decoder) error {
	r := req.(arith.AddRequest)
	var b [8]byte
	_, _ = arith.AddReply{Sum: r.A + r.B}.EncodeCell(b[:])
	return reply.DecodeCell(b[:])
}

// TestStreams counts streams among the calls under way, over real links.
func TestStreams(t *testing.T) {
	dir := privateDir(t)
	kill := spawn(t, dir)
	b, _ := over(t, 0, balance.Options{ProbeMin: time.Hour, ProbeMax: time.Hour, HealthEvery: -1})
	if err := b.Add(balance.Instance{Name: "a", Caller: dial(t, dir)}); err != nil {
		t.Fatal(err)
	}
	c := arith.NewArithClient(b)
	outstanding := func() int { return b.Instances()[0].Outstanding }

	in := ok[*rpc.Incoming[arith.Number, arith.CountReply]](t)(c.Count(soon(t), arith.CountRequest{N: 3}))
	if outstanding() != 1 {
		t.Fatal("a stream does not count")
	}
	if reply, err := in.Reply(); err != nil || reply.Sent != 3 || outstanding() != 0 {
		t.Fatal(reply, err, outstanding())
	}
	ctx, cancel := context.WithCancel(soon(t))
	both := ok[*rpc.Duplex[arith.Number, arith.Number, rpc.Empty]](t)(c.Squares(ctx))
	cancel()
	until(t, "the stream counts no longer", func() bool { return outstanding() == 0 })
	_ = both.Close()
	if err := c.Note(soon(t), arith.AddRequest{}); err != nil {
		t.Fatal(err)
	}

	events := ok[*rpc.Events[arith.Number]](t)(c.Tick(soon(t), rpc.SubscribeOptions{}))
	out := ok[*rpc.Outgoing[arith.Number, arith.AddReply]](t)(c.Sum(soon(t)))
	if outstanding() != 2 {
		t.Fatal(outstanding())
	}
	kill()
	if _, err := out.Reply(); !errors.Is(err, wire.StatusPeerGone) {
		t.Fatal(err)
	}
	if _, err := events.Receive(); err == nil {
		t.Fatal("an event from the dead")
	}
	_ = events.Close()
	if outstanding() != 0 || b.Instances()[0].In {
		t.Fatal(outstanding(), b.Instances())
	}
	if _, err := c.Sum(soon(t)); !errors.Is(err, wire.StatusUnavailable) {
		t.Fatal(err)
	}
}

func TestBroadcast(t *testing.T) {
	b, all := over(t, 3, balance.Options{ProbeMin: time.Hour, ProbeMax: time.Hour})
	sum := func() (total int64) {
		for _, a := range balance.CallAll[arith.AddReply](soon(t), b, add, arith.AddRequest{}) {
			if a.Err == nil {
				total += 1 << (8 * a.Reply.Sum)
			}
		}
		return total
	}
	if got := sum(); got != 1+1<<8+1<<16 {
		t.Errorf("replies %#x", got)
	}
	if _, err := call(soon(t), b.Broadcast(), echo); err != nil {
		t.Error(err)
	}
	if err := b.Broadcast().Send(soon(t), note, arith.AddRequest{}); err != nil {
		t.Error(err)
	}
	for k, i := range all {
		if i.calls.Load() != 3 {
			t.Errorf("instance %d got %d of 3 calls to all", k, i.calls.Load())
		}
	}
	all[1].fails(wire.StatusPeerGone)
	for range 2 { // found out, then known
		if _, err := call(soon(t), b.Broadcast(), echo); err == nil {
			t.Error("a broadcast that did not reach all succeeded")
		}
	}
	if n := all[1].calls.Load(); n != 4 {
		t.Errorf("an instance that is left out got %d calls", n-4)
	}
	answers := balance.CallAll[arith.AddReply](soon(t), b, add, arith.AddRequest{})
	if len(answers) != 3 || answers[0].Err != nil || !errors.Is(answers[1].Err, wire.StatusUnavailable) || answers[2].Reply.Sum != 2 {
		t.Errorf("%+v", answers)
	}
	if _, err := b.Broadcast().Stream(soon(t), add, arith.AddRequest{}); !errors.Is(err, wire.StatusUnimplemented) {
		t.Error(err)
	}
	if _, err := b.Broadcast().Subscribe(soon(t), add, rpc.SubscribeOptions{}); !errors.Is(err, wire.StatusUnimplemented) {
		t.Error(err)
	}
	none, _ := over(t, 0, balance.Options{})
	if _, err := call(soon(t), none.Broadcast(), add); !errors.Is(err, wire.StatusUnavailable) {
		t.Error(err)
	}
}
