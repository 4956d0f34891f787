package node_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/examples/versions/v1"
	"github.com/cell-runtime/cell/examples/versions/v3"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/ops"
	"github.com/cell-runtime/cell/rpc"
)

// paced is callers that call on a schedule, whatever the answers do.
type paced struct {
	mu     sync.Mutex
	times  []time.Duration // from when a call was due
	failed []error
	began  time.Time
	stop   context.CancelFunc
	work   sync.WaitGroup
}

// tick is how often a paced caller makes its calls that are due, where their
// number counts.
const tick = time.Millisecond

// pace has callers make rate calls a second between them, those of a tick at once.
func (r rig) pace(callers, rate int, quote func(conn *rpc.Conn, weight int32) (int64, error)) *paced {
	return r.paceBy(tick, callers, rate, quote)
}

// paceBy has callers make rate calls a second between them, waiting at least tick
// where they wait; 0: each call is made when it is due, where its time counts.
func (r rig) paceBy(tick time.Duration, callers, rate int, quote func(conn *rpc.Conn, weight int32) (int64, error)) *paced {
	ctx, stop := context.WithCancel(context.Background())
	p := &paced{stop: stop, began: time.Now()}
	per := time.Duration(callers) * time.Second / time.Duration(rate)
	for n := range callers {
		conn := r.caller()
		p.work.Go(func() {
			defer conn.Close()
			var times []time.Duration
			defer func() {
				p.mu.Lock()
				p.times = append(p.times, times...)
				p.mu.Unlock()
			}()
			for due := time.Now().Add(time.Duration(n) * per / time.Duration(callers)); ctx.Err() == nil; due = due.Add(per) {
				if wait := time.Until(due); wait > 0 {
					time.Sleep(max(wait, tick))
				}
				weight := rand.Int32()
				amount, err := quote(conn, weight)
				if err == nil && amount != int64(weight) {
					err = fmt.Errorf("asked for %d, answered %d", weight, amount)
				}
				if err != nil {
					p.mu.Lock()
					p.failed = append(p.failed, err)
					p.mu.Unlock()
				}
				times = append(times, time.Since(due))
			}
		})
	}
	return p
}

// end stops the callers, fails the test for each call that failed, and says how
// it went.
func (p *paced) end(t *testing.T, what string) {
	t.Helper()
	p.stop()
	p.work.Wait()
	took := time.Since(p.began)
	slices.Sort(p.times)
	at := func(q float64) time.Duration { return p.times[int(q*float64(len(p.times)-1))] }
	t.Logf("%s: %d calls in %v, %.0f a second, %d failed; p50 %v, p99 %v, p99.9 %v, most %v",
		what, len(p.times), took.Round(time.Millisecond), float64(len(p.times))/took.Seconds(), len(p.failed), at(0.5), at(0.99), at(0.999), at(1))
	for _, err := range p.failed[:min(len(p.failed), 5)] {
		t.Errorf("%s: a call failed: %v", what, err)
	}
}

func quoteV1(conn *rpc.Conn, weight int32) (int64, error) {
	p, err := v1.NewPostageClient(conn).Quote(context.Background(), v1.Parcel{Weight: weight})
	return p.Amount, err
}

func quoteV3(conn *rpc.Conn, weight int32) (int64, error) {
	p, err := v3.NewPostageClient(conn).Quote(context.Background(), v3.Parcel{Weight: float64(weight)})
	return p.Amount, err
}

// An additive version takes over under load, a breaking one serves beside, and
// no call fails. With CELL_SOAK=1: 10,000 calls a second, ten changes.
func TestUpgradesUnderLoad(t *testing.T) {
	rate, changes, each := 2000, 1, 50*time.Millisecond
	if os.Getenv("CELL_SOAK") != "" {
		rate, changes, each = 10_000, 10, time.Second
	}
	r := run(t, postage(privateDir(t), "v1", func(c *config.Cell) { c.VersionIdle = config.Duration(200 * time.Millisecond) }), nil)
	deploy := func(kind, want string) {
		t.Helper()
		done, err := r.ops.Deploy(soon(t), ops.Deployment{Cell: "postage", Command: command(kind), Version: kind})
		if err != nil || !strings.Contains(strings.Join(done.Did, "\n"), want) {
			t.Fatalf("%v, %v", done.Did, err)
		}
	}
	old := r.pace(5, rate, quoteV1)
	time.Sleep(each)
	deploy("v2", "replaces")
	for range changes {
		time.Sleep(each)
		if _, err := r.ops.Restart(soon(t), ops.Name{Cell: "postage"}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(each)
	old.end(t, "callers of v1 while v2 takes over and is restarted")

	old = r.pace(3, rate/2, quoteV1)
	deploy("v3", "stays beside")
	next := r.pace(3, rate/2, quoteV3)
	time.Sleep(each)
	old.end(t, "callers of v1 while v3 comes beside")
	next.end(t, "callers of v3, by the front")
	eventually(t, "the old version sleeps", func() bool {
		all, err := r.ops.Versions(soon(t), ops.Name{Cell: "postage"})
		return err == nil && len(all.Versions) == 2 && all.Versions[0].State == "asleep"
	})
	conn := r.caller()
	defer conn.Close()
	began := time.Now()
	if amount, err := quoteV1(conn, 7); err != nil || amount != 7 {
		t.Errorf("a call of the version that slept: %d, %v", amount, err)
	}
	t.Logf("a call woke it and was answered after %v", time.Since(began))
}
