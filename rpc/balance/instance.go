package balance

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// Instance is one of the servers among which calls are shared out.
type Instance struct {
	// Name tells it from the others, and decides which keys it gets under
	// Sticky.
	Name string
	// Caller makes calls to it. The balancer does not close it.
	Caller rpc.Caller
	// Health asks whether it is well: nil, or why not. Default: that of Caller
	// if it has a method as [rpc.Conn.Health], which asks over the operations
	// channel. Without any, an instance that was left out is tried with the
	// next call when the time of a probe has come.
	Health func(ctx context.Context) error
}

// State is an instance as the balancer sees it.
type State struct {
	Name        string
	In          bool  // it takes part
	Why         error // why it does not
	Outstanding int   // calls under way
}

// healthAsker is what a connection can be asked.
type healthAsker interface {
	Health(ctx context.Context) (rpc.Health, error)
}

var errDraining = errors.New("the server drains")

// healthOf is the question that fits a caller, or nil.
func healthOf(c rpc.Caller) func(context.Context) error {
	asker, ok := c.(healthAsker)
	if !ok {
		return nil
	}
	return func(ctx context.Context) error {
		h, err := asker.Health(ctx)
		if err == nil && !h.Serving {
			return errDraining
		}
		return err
	}
}

// instance is one instance. What calls write lies on a line of its own.
type instance struct {
	name   string
	caller rpc.Caller
	health func(context.Context) error
	seed   uint64 // of its order for keys

	_           [64]byte
	outstanding atomic.Int64
	failures    atomic.Int32 // in a row
	proven      atomic.Bool  // a call has succeeded since it came back
	_           [64]byte

	// Guarded by the balancer's lock.
	in      bool
	removed bool
	why     error
	asking  bool          // a question is under way
	next    time.Time     // when it is to be asked
	pause   time.Duration // after the next failure
}

func newInstance(i Instance) (*instance, error) {
	switch {
	case i.Name == "":
		return nil, fmt.Errorf("%w: it needs a name", ErrInstance)
	case i.Caller == nil:
		return nil, fmt.Errorf("%w: %q needs a caller", ErrInstance, i.Name)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(i.Name))
	made := &instance{name: i.Name, caller: i.Caller, health: i.Health, seed: h.Sum64(), in: true}
	if made.health == nil {
		made.health = healthOf(i.Caller)
	}
	return made, nil
}

// succeeded notes that a call went well: two loads in the normal case.
func (i *instance) succeeded() {
	if i.failures.Load() != 0 {
		i.failures.Store(0)
	}
	if !i.proven.Load() {
		i.proven.Store(true)
	}
}

// gravity is what a failed call says about its instance.
type gravity uint8

const (
	silent   gravity = iota // nothing: the caller gave up, or it was never sent
	harmless                // that the instance answers
	bad                     // it may be the instance
	fatal                   // the link is lost, or the server drains
)

// weigh tells how bad an outcome is. What handlers answer by themselves says
// nothing, not even an error without a number: all instances would answer so.
func weigh(err error) gravity {
	var e *rpc.Error
	remote := errors.As(err, &e) && e.Remote
	switch rpc.StatusOf(err) {
	case wire.StatusDraining:
		return fatal
	case wire.StatusPeerGone, wire.StatusUnavailable:
		if remote {
			return bad
		}
		return fatal
	case wire.StatusDeadlineExceeded, wire.StatusInternal:
		return bad
	case wire.StatusResourceExhausted:
		if remote {
			return bad
		}
		return silent // a limit on this side
	case wire.StatusCanceled:
		return silent
	}
	return harmless
}

// elsewhere reports whether a call that failed may go to another instance:
// it was not executed, or executing it twice does no harm. When its time is up
// there is none left for another.
func elsewhere(m *rpc.Method, err error) bool {
	switch rpc.StatusOf(err) {
	case wire.StatusUnavailable, wire.StatusDraining, wire.StatusResourceExhausted:
		return true
	case wire.StatusPeerGone:
		return m.Idempotent
	}
	return false
}
