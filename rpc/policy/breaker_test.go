package policy_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/rpc/policy"
	"github.com/cell-runtime/cell/wire"
)

// breakers are both kinds, each to open after 4 failures in a row.
func breakers(t *testing.T, open time.Duration) map[string]*policy.Breaker {
	return map[string]*policy.Breaker{
		"in a row": ok[*policy.Breaker](t)(policy.NewBreaker(4, open)),
		"rate":     ok[*policy.Breaker](t)(policy.NewRateBreaker(0.5, 4, time.Hour, open, 1)),
	}
}

// TestBreakerTrips is the second fault of its kind: a breaker that can't trip,
// because what it looks at never is what goes wrong.
func TestBreakerTrips(t *testing.T) {
	remote := func(s wire.Status) error { return &rpc.Error{Status: s, Remote: true} }
	for _, c := range []struct {
		name         string
		outcomes     []error // in turn
		inARow, rate bool    // opens within 100 calls
	}{
		{"all well", []error{nil}, false, false},
		{"server unreachable", []error{wire.StatusUnavailable}, true, true},
		{"server dies in calls", []error{wire.StatusPeerGone}, true, true},
		{"server hangs", []error{wire.StatusDeadlineExceeded}, true, true},
		{"a context's deadline without a status", []error{context.DeadlineExceeded}, true, true},
		{"server drains", []error{remote(wire.StatusDraining)}, true, true},
		{"server overloaded", []error{remote(wire.StatusResourceExhausted)}, true, true},
		{"handler panics", []error{remote(wire.StatusInternal)}, true, true},
		{"handler fails without a number", []error{remote(wire.StatusUnknown)}, true, true},
		{"every other call fails", []error{nil, wire.StatusUnavailable}, false, true},
		{"one in ten fails", []error{wire.StatusUnavailable, nil, nil, nil, nil, nil, nil, nil, nil, nil}, false, false},
		{"errors of the application", []error{remote(wire.StatusNotFound), remote(wire.StatusInvalidArgument), remote(wire.StatusPermissionDenied)}, false, false},
		{"callers give up", []error{wire.StatusCanceled}, false, false},
		{"callers give up while it fails", []error{wire.StatusCanceled, wire.StatusUnavailable}, true, true},
		{"a limit on this side", []error{&rpc.Error{Status: wire.StatusResourceExhausted}}, false, false},
	} {
		for kind, breaker := range breakers(t, time.Hour) {
			next := &scripted{call: func(_ context.Context, n int, _ *rpc.Method, _ rpc.Encoder, _ rpc.Decoder) error {
				return c.outcomes[n%len(c.outcomes)]
			}}
			wrapped := wrap(t, next, policy.Options{Client: policy.Policy{Breaker: breaker}})
			opened := false
			for range 100 {
				opened = opened || errors.Is(call(soon(t), wrapped, add), policy.ErrBreakerOpen)
			}
			want := c.inARow
			if kind == "rate" {
				want = c.rate
			}
			if opened != want || opened != (breaker.State() == policy.BreakerOpen) {
				t.Errorf("%s, %s: opened %v, state %v", c.name, kind, opened, breaker.State())
			}
		}
	}
}

// TestBreakerTripsOnARealServerThatHangs needs the deadline to be inside of
// the breaker, or the breaker would see nothing but calls that don't end.
func TestBreakerTripsOnARealServerThatHangs(t *testing.T) {
	dial, _, _ := serveArith(t, startEngine(t))
	conn := connect(t, dial)
	for kind, breaker := range breakers(t, time.Hour) {
		c := arith.NewArithClient(wrap(t, conn, policy.Options{Client: policy.Policy{Deadline: time.Millisecond, Breaker: breaker}}))
		for n := 0; breaker.State() != policy.BreakerOpen; n++ {
			if _, err := c.Echo(context.Background(), hangText); err == nil || n > 100 {
				t.Fatal(kind, n, err)
			}
		}
		if _, err := c.Add(context.Background(), arith.AddRequest{}); !errors.Is(err, policy.ErrBreakerOpen) || !errors.Is(err, wire.StatusUnavailable) {
			t.Error(kind, err)
		}
	}
}

func TestBreakerCloses(t *testing.T) {
	for kind, breaker := range breakers(t, time.Millisecond) {
		failing := true
		next := &scripted{call: func(context.Context, int, *rpc.Method, rpc.Encoder, rpc.Decoder) error {
			if failing {
				return wire.StatusUnavailable
			}
			return nil
		}}
		c := wrap(t, next, policy.Options{Client: policy.Policy{Breaker: breaker}})
		for range 4 {
			_ = call(soon(t), c, add)
		}
		if breaker.State() == policy.BreakerClosed {
			t.Fatal(kind, "did not open")
		}
		// A probe fails: it stays open.
		until(t, func() bool { return !errors.Is(call(soon(t), c, add), policy.ErrBreakerOpen) })
		if breaker.State() == policy.BreakerClosed {
			t.Fatal(kind, "closed by a failure")
		}
		failing = false
		until(t, func() bool { return call(soon(t), c, add) == nil })
		if breaker.State() != policy.BreakerClosed {
			t.Fatal(kind, breaker.State())
		}
		if err := call(soon(t), c, add); err != nil {
			t.Fatal(kind, err)
		}
	}
}

func until(t *testing.T, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it has not come about")
		}
	}
}

// A probe that says nothing, because its caller gives up or panics, must not
// keep the breaker open for ever.
func TestBreakerSurvivesProbesWithoutOutcome(t *testing.T) {
	for kind, breaker := range breakers(t, time.Millisecond) {
		now := func(context.Context) error { return wire.StatusUnavailable }
		next := &scripted{call: func(ctx context.Context, _ int, _ *rpc.Method, _ rpc.Encoder, _ rpc.Decoder) error { return now(ctx) }}
		c := wrap(t, next, policy.Options{Client: policy.Policy{Breaker: breaker}})
		for range 4 {
			_ = call(soon(t), c, add)
		}
		for name, outcome := range map[string]func(context.Context) error{
			"gives up": func(context.Context) error { return wire.StatusCanceled },
			"panics":   func(context.Context) error { panic("as asked") },
		} {
			probed := false
			now = func(ctx context.Context) error { probed = true; return outcome(ctx) }
			until(t, func() (done bool) {
				defer func() { _, done = recover(), probed }()
				return call(soon(t), c, add) == nil
			})
			if breaker.State() == policy.BreakerClosed {
				t.Fatal(kind, name, "closed it")
			}
		}
		now = func(context.Context) error { return nil }
		until(t, func() bool { return call(soon(t), c, add) == nil })
	}
}

// While one call finds out how the server is, no other gets through for as long as
// the breaker would be open.
func TestHalfOpenLetsOneCallPass(t *testing.T) {
	for open := 50 * time.Millisecond; !letsOneCallPass(t, open); open *= 4 {
	}
}

// letsOneCallPass returns false if this host was too slow for it.
func letsOneCallPass(t *testing.T, open time.Duration) bool {
	t.Helper()
	breaker := ok[*policy.Breaker](t)(policy.NewBreaker(1, open))
	inside, release := make(chan struct{}), make(chan struct{})
	next := &scripted{call: func(_ context.Context, n int, _ *rpc.Method, _ rpc.Encoder, _ rpc.Decoder) error {
		switch n {
		case 1:
			return wire.StatusUnavailable
		case 2:
			close(inside)
			<-release
		}
		return nil
	}}
	c := wrap(t, next, policy.Options{Client: policy.Policy{Breaker: breaker}})
	_ = call(soon(t), c, add)
	probe := make(chan error, 1)
	until(t, func() bool { return breaker.State() == policy.BreakerHalfOpen })
	began := time.Now()
	go func() { probe <- call(context.Background(), c, add) }()
	<-inside
	if err := call(soon(t), c, add); !errors.Is(err, policy.ErrBreakerOpen) {
		if time.Since(began) >= open {
			close(release)
			<-probe
			return false
		}
		t.Error(err)
	}
	if breaker.State() != policy.BreakerHalfOpen {
		t.Error(breaker.State())
	}
	close(release)
	if err := <-probe; err != nil || breaker.State() != policy.BreakerClosed {
		t.Fatal(err, breaker.State())
	}
	return true
}

func TestOneBreakerInTwoPlaces(t *testing.T) {
	breaker := ok[*policy.Breaker](t)(policy.NewBreaker(1, time.Hour))
	own := ok[*policy.Breaker](t)(policy.NewBreaker(1, time.Hour))
	o := policy.Options{
		Client:  policy.Policy{Breaker: breaker},
		Methods: map[string]policy.Policy{"Arith.Echo": {Breaker: own}},
	}
	if call(soon(t), wrap(t, fails(wire.StatusUnavailable), o), add) == nil || own.State() != policy.BreakerClosed {
		t.Fatal("the method's breaker saw another method's call")
	}
	if err := call(soon(t), wrap(t, fails(nil), o), echo); !errors.Is(err, policy.ErrBreakerOpen) {
		t.Fatal("the client's breaker does not concern the method with its own", err)
	}
}
