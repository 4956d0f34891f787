package forward

import (
	"context"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// Forwarder joins links of one engine. Give it to a server as
// [rpc.ServerOptions].Relay, so that what the server doesn't serve goes on to
// where [Target] routes it, or add callers by [Forwarder.AddCaller] where there
// is no server. Its methods may be called from any goroutine once the engine
// was started.
type Forwarder struct {
	engine *engine.Engine
	opts   Options

	// All below belongs to the engine's thread.
	routes  map[uint64]*route
	rest    *route // of fingerprints without a route; nil: refused
	table   table
	owing   lane // calls that owe somebody something there was no room for
	timer   engine.Timer
	callers uint64 // so far
	stats   Stats
}

// route is where a fingerprint leads.
type route struct {
	target *Target
	topic  bool // a call that lasts until somebody ends it
}

// Stats are a forwarder's counters.
type Stats struct {
	Calls     int    // under way now
	Requests  uint64 // calls that were passed on to a target
	Forwarded uint64 // vesicles and pieces passed on, either way
	Bytes     uint64 // payload bytes of those
	Late      uint64 // vesicles for calls that were over: dropped
	Stray     uint64 // what no honest peer sends: dropped
	Hops      uint64 // vesicles whose way was too long
	Refused   uint64 // requests answered with a status and not passed on
	Broken    uint64 // calls that ended by a status of the forwarder's own
	Kicked    uint64 // callers that were disconnected because they did not read
	Evicted   uint64 // places taken back from calls that never got their answer
}

// New makes a forwarder for an engine's links. A nil o means defaults. Errors:
// ErrOptions, ErrArgument.
func New(e *engine.Engine, o *Options) (*Forwarder, error) {
	if e == nil {
		return nil, fmt.Errorf("%w: New needs an engine", ErrArgument)
	}
	f := &Forwarder{engine: e, routes: make(map[uint64]*route)}
	if o != nil {
		f.opts = *o
	}
	if err := f.opts.setDefaults(); err != nil {
		return nil, err
	}
	f.table.init(f)
	f.owing.init(laneOwing)
	f.timer.Func = func(*engine.Timer) { f.settleAll() }
	return f, nil
}

// do runs fn on the engine's thread.
func (f *Forwarder) do(fn func() error) error {
	var err error
	if doErr := f.engine.Do(context.Background(), func() { err = fn() }); doErr != nil {
		return doErr
	}
	return err
}

// Stats returns a copy of the counters. Errors: those of [engine.Engine.Do].
func (f *Forwarder) Stats() (s Stats, err error) {
	err = f.do(func() error {
		s = f.stats
		s.Calls = f.table.live
		return nil
	})
	return s, err
}

// drainPace is how often Drain looks whether calls are still under way.
const drainPace = time.Millisecond

// Drain ends subscriptions with wire.StatusDraining and returns when no other
// call is under way, or with the cause of ctx. Whoever takes in the requests
// must refuse new ones meanwhile, as [rpc.Server.Drain] does.
func (f *Forwarder) Drain(ctx context.Context) error {
	tick := time.NewTicker(drainPace)
	defer tick.Stop()
	for {
		left := 0
		err := f.do(func() error {
			f.table.each(func(c *call) {
				if c.topic && c.state == stateLive {
					f.fail(c, wire.StatusDraining, "the forwarder is stopping", true)
				}
			})
			left = f.table.live + f.owing.count
			return nil
		})
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Errors that requests are refused with, made beforehand: a flood of refusals
// allocates nothing.
var (
	errExhausted = rpc.Errorf(wire.StatusResourceExhausted, "too many calls are being forwarded; not executed")
	errHops      = rpc.Errorf(wire.StatusHops, "the request was forwarded too often; not executed")
	errExpired   = rpc.Errorf(wire.StatusDeadlineExceeded, "the call's time was up before it could be passed on; not executed")
	errDuplicate = rpc.Errorf(wire.StatusInvalidArgument, "the correlation belongs to another call under way")
	errTooLarge  = rpc.Errorf(wire.StatusTooLarge, "the next link can't carry a request of this size; not executed")
	errNoRoute   = error(rpc.ErrUnserved)
)

var (
	_ rpc.Relay     = (*Forwarder)(nil)
	_ rpc.RelayLink = (*caller)(nil)
)

// fingerprints calls fn with every fingerprint by which a method is called.
func fingerprints(m *rpc.Method, fn func(fingerprint uint64, topic bool) error) error {
	topic := m.Mode == schema.Topic
	if err := fn(m.Fingerprint, topic); err != nil {
		return err
	}
	for _, a := range m.Ancestors {
		if err := fn(a.Fingerprint, topic); err != nil {
			return err
		}
	}
	return nil
}
