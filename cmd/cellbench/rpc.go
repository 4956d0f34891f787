package main

import (
	"context"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/bench"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
)

// topicBatch is how many events are published at once unless --batch says
// otherwise.
const topicBatch = 32

func runRPC(ctx context.Context, args []string) error {
	o := newFlags("rpc", "Measures typed calls between two processes, beside a bare cache line; or events of a topic.")
	o.measuring("64", 3*time.Second)
	f := o.set
	f.StringVar(&o.spec.RPC.Caller, "caller", bench.CallerEngine, "engine: on its thread, in place, answers by callback; goroutine: blocking calls")
	f.StringVar(&o.spec.RPC.Handler, "handler", bench.HandlerInline, "inline: on the serving engine's thread, in place; pool: on a goroutine")
	f.IntVar(&o.spec.RPC.Window, "window", 1, "calls under way at once, `N`; more than one are counted, not timed")
	topic := f.Bool("topic", false, "measure events of a topic through a broadcast ring, instead of calls")
	f.BoolVar(&o.noC, "no-c", false, "with --topic: do not build the limit in C")
	o.spec.Kind = report.KindRPC
	o.prepare = func() error {
		if !*topic {
			return nil
		}
		for _, name := range []string{"caller", "handler", "window", "link", "wait"} {
			if o.given(name) {
				return usageError("--" + name + " is for calls; leave it out with --topic")
			}
		}
		o.spec.Kind, o.spec.Link, o.spec.RPC = report.KindTopic, bench.LinkBroadcast, bench.RPC{}
		if !o.given("batch") {
			o.spec.Batch = topicBatch
		}
		return nil
	}
	return o.one(ctx, args)
}
