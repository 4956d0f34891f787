package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
)

func TestMeasureCalls(t *testing.T) {
	waits := map[string][]string{CallerEngine: {"spin", "yield", "park", "adaptive"}, CallerGoroutine: {"spin", "park", "adaptive"}}
	for _, link := range []string{LinkRing, LinkUDS} {
		for _, caller := range []string{CallerEngine, CallerGoroutine} {
			for _, wait := range waits[caller] {
				for _, handler := range []string{HandlerInline, HandlerPool} {
					if handler == HandlerPool && wait != "adaptive" {
						continue // how the server waits and who handles don't depend on each other
					}
					s := short(report.KindRPC, link)
					s.Wait, s.RPC = wait, RPC{Caller: caller, Handler: handler}
					t.Run(fmt.Sprint(named(s), " ", caller, " ", handler), func(t *testing.T) {
						res, _ := measured(t, s)
						if res.NS == nil || res.Limit == nil || res.Limit.Link != "cacheline" {
							t.Fatalf("incomplete: %+v", res)
						}
						if res.Caller != caller || res.Handler != handler || res.Window != 1 || res.Payload != 32 {
							t.Errorf("setting %+v", res.Setting)
						}
					})
				}
			}
		}
	}
}

func TestMeasureCallsOfManySizes(t *testing.T) {
	for _, size := range []int{leastSized, leastSized + 1, 1 << 10, 64 << 10} {
		for _, caller := range []string{CallerEngine, CallerGoroutine} {
			for _, link := range []string{LinkRing, LinkUDS} {
				s := short(report.KindRPC, link)
				s.Size, s.NoLimit, s.RPC.Caller = size, true, caller
				t.Run(fmt.Sprint(named(s), " ", caller), func(t *testing.T) {
					if res, _ := measured(t, s); res.Payload != size-Prefix-8 {
						t.Errorf("payload %d", res.Payload)
					}
				})
			}
		}
	}
}

func TestMeasureCallsByASchedule(t *testing.T) {
	for _, caller := range []string{CallerEngine, CallerGoroutine} {
		t.Run(caller, func(t *testing.T) {
			s := short(report.KindRPC, LinkRing)
			s.Rate, s.RPC.Caller, s.Duration = 2000, caller, 100*time.Millisecond
			if res, _ := measured(t, s); res.NS == nil || *res.MsgsPerS > 4000 {
				t.Errorf("%v calls a second at 2,000 a second", *res.MsgsPerS)
			}
		})
	}
}

func TestMeasurePipelinedCalls(t *testing.T) {
	for _, link := range []string{LinkRing, LinkUDS} {
		for _, of := range []Spec{{Size: 64, Wait: "spin"}, {Size: 64, Wait: "park"}, {Size: 4 << 10, Wait: "spin"}} {
			s := short(report.KindRPC, link)
			s.Size, s.Wait, s.RPC.Window = of.Size, of.Wait, 64
			t.Run(named(s), func(t *testing.T) {
				if res, _ := measured(t, s); res.NS != nil || res.Limit != nil || res.Window != 64 {
					t.Errorf("pipelined calls are counted, not timed: %+v", res)
				}
			})
		}
	}
}

func TestMeasureATopic(t *testing.T) {
	for _, batch := range []int{1, 32} {
		s := short(report.KindTopic, LinkBroadcast)
		s.Batch = batch
		t.Run(named(s), func(t *testing.T) {
			if res, _ := measured(t, s); res.NS != nil || res.Payload != 40 {
				t.Errorf("%+v", res)
			}
		})
	}
}

func TestCallsThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		name, says string
		change     func(*Spec)
	}{
		{"over a broadcast ring", "--link", func(s *Spec) { s.Link = LinkBroadcast }},
		{"from nobody", "--caller", func(s *Spec) { s.RPC.Caller = "nobody" }},
		{"handled by nobody", "--handler", func(s *Spec) { s.RPC.Handler = "nobody" }},
		{"too many at once", "--window", func(s *Spec) { s.RPC.Window = MaxWindow + 1 }},
		{"several at once from a goroutine", "--window", func(s *Spec) { s.RPC = RPC{Caller: CallerGoroutine, Window: 2} }},
		{"several at once by a schedule", "--window", func(s *Spec) { s.Rate, s.RPC.Window = 1000, 2 }},
		{"a goroutine that yields", "--wait", func(s *Spec) { s.Wait, s.RPC.Caller = "yield", CallerGoroutine }},
		{"smaller than a message", "--size", func(s *Spec) { s.Size = leastSized - 1 }},
		{"in batches", "--batch", func(s *Spec) { s.Batch = 2 }},
		{"events of another size", "--size", func(s *Spec) { s.Kind, s.Link, s.Size = report.KindTopic, LinkBroadcast, 128 }},
		{"events by a schedule", "--rate", func(s *Spec) { s.Kind, s.Link, s.Rate = report.KindTopic, LinkBroadcast, 5 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := short(report.KindRPC, LinkRing)
			c.change(&s)
			if err := s.Check(); !errors.Is(err, ErrSpec) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, which should name %s", err, c.says)
			}
		})
	}
}

// When the peer dies in the middle of a call, the measurement ends with an
// error and not never.
func TestCallsWhosePeerDies(t *testing.T) {
	for _, s := range []Spec{
		{Kind: report.KindRPC, Link: LinkRing, Wait: "spin"},
		{Kind: report.KindRPC, Link: LinkRing, Wait: "park", RPC: RPC{Caller: CallerGoroutine}},
		{Kind: report.KindRPC, Link: LinkUDS, Wait: "park"},
		{Kind: report.KindRPC, Link: LinkRing, RPC: RPC{Window: 8}},
		{Kind: report.KindTopic, Link: LinkBroadcast},
	} {
		at := short(s.Kind, s.Link)
		at.Wait, at.RPC, at.Duration, at.NoLimit = s.Wait, s.RPC, time.Minute, true
		t.Run(fmt.Sprint(named(at), " ", s.RPC.Caller), func(t *testing.T) {
			b, ctx := begin(t)
			timer := time.AfterFunc(200*time.Millisecond, func() { _ = b.peer.Process.Kill() })
			defer timer.Stop()
			if _, _, err := b.Measure(ctx, at, nil); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	}
}
