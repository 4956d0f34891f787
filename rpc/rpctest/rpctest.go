// Package rpctest is the suite that shows that calls work over a link. Every
// link that passes link/linktest runs it, unchanged:
//
//	func TestRPC(t *testing.T) {
//		rpctest.Run(t, rpctest.Harness{
//			Open: func(t testing.TB) (server, client link.Link) { … },
//		})
//	}
package rpctest

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
)

// Harness tells the suite how to make links.
type Harness struct {
	// Open returns the two ends of a new link, which the suite closes. The
	// link must be able to carry fragments (link.MinFragmentPayload).
	Open func(t testing.TB) (server, client link.Link)

	// Lossy: vesicles may get lost or overtake each other. The suite then
	// leaves out what rests on their order.
	Lossy bool
	// Slow: the medium carries some kilobytes a second. The suite then sends
	// less.
	Slow bool
	// Timeout bounds each wait; default 20 s.
	Timeout time.Duration
}

// Run runs all cases over links of h, each as a subtest of t.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if h.Open == nil {
		t.Fatal("rpctest: Harness.Open is missing")
	}
	if h.Timeout == 0 {
		h.Timeout = 20 * time.Second
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.exact && h.Lossy {
				t.Skip("says nothing about a link that loses or reorders vesicles")
			}
			watchdog := time.AfterFunc(5*h.Timeout, func() {
				stacks := make([]byte, 1<<20)
				stacks = stacks[:runtime.Stack(stacks, true)]
				panic(fmt.Sprintf("rpctest: case %q has not ended\n%s", t.Name(), stacks))
			})
			defer watchdog.Stop()
			c.run(&suite{TB: t, t: t, h: h})
		})
	}
}

// conformance is one case. exact cases need a link that loses nothing.
type conformance struct {
	name  string
	exact bool
	run   func(s *suite)
}

var cases = []conformance{
	{"unary, blocking handler", false, caseUnaryBlocking},
	{"unary, inline handler", false, caseUnaryInline},
	{"unary, engine-driven, pipelined", true, caseAsync},
	{"one-way, large, topic and binding, engine-driven", true, caseAsyncMore},
	{"every wait mode", false, caseWaitModes},
	{"many goroutines on one connection", true, caseConcurrent},
	{"errors keep status, message and details", false, caseErrors},
	{"a panic costs one call", false, casePanic},
	{"one-way", true, caseOneWay},
	{"large messages both ways", true, caseLarge},

	{"deadline reaches the handler", false, caseDeadlineSeen},
	{"deadline passes while the handler hangs", false, caseDeadlinePasses},
	{"deadline passes on the engine", false, caseDeadlineAsync},
	{"a late answer reaches nobody", false, caseLateAnswer},
	{"a late answer reaches nobody on the engine", false, caseLateAnswerAsync},
	{"cancel ends both sides", true, caseCancel},
	{"queue full", true, caseQueueFull},
	{"too many calls under way", true, caseInFlight},
	{"request above the limit", true, caseRequestTooLarge},
	{"reply above the limit", true, caseReplyTooLarge},
	{"unknown method", false, caseUnknownMethod},
	{"server's link ends", true, casePeerGone},

	{"server stream", true, caseServerStream},
	{"server stream, slow client", true, caseSlowClient},
	{"server stream, cancelled", true, caseStreamCancel},
	{"client stream", true, caseClientStream},
	{"client stream, refused half-way", true, caseClientStreamError},
	{"streams both ways", true, caseDuplex},
	{"streams both ways, reply while sending", true, caseReplyWhileSending},
	{"streams both ways, closed by another", true, caseReplyAfterClose},
	{"stream ends with the link", true, caseStreamGone},

	{"topic", true, caseTopic},
	{"topic, slow subscriber loses with a count", true, caseTopicLoses},
	{"topic, slow subscriber holds back", true, caseTopicHoldsBack},

	{"operations", true, caseOperations},
	{"traceparent", true, caseTraceparent},
	{"several links at once", false, caseSeveralLinks},
	{"drain", true, caseDrain},
	{"reconnect", true, caseReconnect},
}

// suite is what a case works with.
type suite struct {
	testing.TB
	t *testing.T
	h Harness
}

// soon returns a context that bounds a wait.
func (s *suite) soon() context.Context {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), s.h.Timeout)
	s.Cleanup(cancel)
	return ctx
}

// most returns n, or less over a slow medium.
func (s *suite) most(n int) int {
	if s.h.Slow {
		return min(n, 20)
	}
	return n
}

// engine returns a running engine, which is stopped in the end.
func (s *suite) engine() *engine.Engine {
	s.Helper()
	e, err := engine.New(engine.Config{CPU: engine.Unpinned})
	s.must(err)
	s.must(e.Start(context.Background()))
	s.Cleanup(func() {
		if err := e.Stop(); err != nil {
			s.Error(err)
		}
	})
	return e
}

func (s *suite) server(o *rpc.ServerOptions) *rpc.Server {
	s.Helper()
	srv, err := rpc.NewServer(o)
	s.must(err)
	return srv
}

// blocking returns a server of arith on goroutines.
func (s *suite) blocking(o *rpc.ServerOptions) (*rpc.Server, *arith.Blocking) {
	s.Helper()
	srv := s.server(o)
	impl := &arith.Blocking{Hang: make(chan struct{})}
	s.must(arith.RegisterArith(srv, impl))
	return srv, impl
}

// inline returns a server of arith on the engine's thread.
func (s *suite) inline(o *rpc.ServerOptions) (*rpc.Server, *arith.Views) {
	s.Helper()
	srv := s.server(o)
	impl := &arith.Views{}
	s.must(arith.RegisterArithViews(srv, impl.ArithViews()))
	return srv, impl
}

// serve opens a link, serves its one end and returns the other.
func (s *suite) serve(srv *rpc.Server) (client link.Link) {
	s.Helper()
	a, b := s.h.Open(s.TB)
	s.must(srv.Serve(s.engine(), a))
	return b
}

// connect serves srv over a new link and returns a connection to it.
func (s *suite) connect(srv *rpc.Server, o *rpc.ConnOptions) *rpc.Conn {
	s.Helper()
	c, err := rpc.NewConn(s.serve(srv), o)
	s.must(err)
	s.Cleanup(func() { _ = c.Close() })
	return c
}

// attach serves srv over a new link and returns an engine-driven connection.
func (s *suite) attach(srv *rpc.Server, o *rpc.ConnOptions) (*engine.Engine, *rpc.AsyncConn) {
	s.Helper()
	e := s.engine()
	c, err := rpc.Attach(e, s.serve(srv), o, nil)
	s.must(err)
	return e, c
}

// must ends the case with what went wrong, if anything did.
func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// eventually waits until f returns true.
func (s *suite) eventually(what string, f func() bool) {
	s.Helper()
	for end := time.Now().Add(s.h.Timeout); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("%s has not come about", what)
		}
	}
}
