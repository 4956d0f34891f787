package rpc_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// What is begun on a link whose loss nobody has noticed goes over the next one,
// at once: nothing of it was sent.
func TestALossThatNobodyNoticed(t *testing.T) {
	d := describeFlows(t, flowsOne)
	ask := make(raw, d.Methods[0].Request.Block)
	for _, c := range []struct {
		name string
		use  func(conn *rpc.Conn) error
	}{
		{"a one-way request", func(conn *rpc.Conn) error { return conn.Send(soon(t), d.Method("Tell"), ask) }},
		{"a stream", func(conn *rpc.Conn) error {
			s, err := conn.Stream(soon(t), d.Method("Watch"), ask)
			if err != nil {
				return err
			}
			defer s.Close()
			return s.Receive(&raw{})
		}},
		{"a subscription", func(conn *rpc.Conn) error {
			s, err := conn.Subscribe(soon(t), d.Method("Changes"), rpc.SubscribeOptions{})
			if err != nil {
				return err
			}
			return s.Close()
		}},
	} {
		for _, o := range openers {
			t.Run(c.name+", as the first on its link, over "+o.name, func(t *testing.T) {
				testUnnoticedLoss(t, d, o.open, false, c.use)
			})
			t.Run(c.name+", after a while, over "+o.name, func(t *testing.T) {
				testUnnoticedLoss(t, d, o.open, true, c.use)
			})
		}
	}
}

func testUnnoticedLoss(t *testing.T, d *rpc.ServiceDesc, open func(testing.TB) (server, client link.Link), before bool, use func(*rpc.Conn) error) {
	e := startEngine(t, engine.IdleAdaptive)
	var server *rpc.Server
	var told chan struct{}
	conn, err := rpc.Connect(soon(t), func(context.Context) (link.Link, error) {
		server, told = flowServer(t, d)
		a, b := open(t)
		return b, server.Serve(e, a)
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if before {
		if err := use(conn); err != nil {
			t.Fatal(err)
		}
		rpc.LetLookAgain(conn)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := use(conn); err != nil {
		t.Fatalf("after the loss: %v", err)
	}
	if n := conn.Stats().Reconnects; n != 1 {
		t.Errorf("%d links were opened after the first", n)
	}
	if strings.Contains(t.Name(), "one-way") {
		select {
		case <-told:
		case <-soon(t).Done():
			t.Fatal("it did not arrive")
		}
	}
}

// An answer that has arrived counts, also if the first to notice the link's end is
// another call, which finds that nothing can be sent any more.
func TestAnAnswerIsReadFromALinkThatHasEnded(t *testing.T) {
	d := describe(t, pricesOne)
	near, far, err := linktest.Pipe(linktest.PipeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	slow := &deaf{Link: far}
	conn, err := rpc.NewConn(slow, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var reply raw
	answered := make(chan error, 1)
	go func() { answered <- conn.Call(soon(t), &d.Methods[0], order(d, 7), &reply) }()
	var v [1]wire.Vesicle
	eventually(t, "the request", func() bool {
		n, err := near.Poll(v[:])
		return n == 1 || err != nil
	})
	h := v[0].Header
	if err := near.Release(1); err != nil {
		t.Fatal(err)
	}
	talk(t, near, wire.Header{Fingerprint: h.Fingerprint, Correlation: h.Correlation, Kind: wire.KindReply, Hops: 1}, []byte("seven"))
	if err := near.Close(); err != nil {
		t.Fatal(err)
	}
	if err := conn.Call(soon(t), &d.Methods[0], order(d, 8), &raw{}); !errors.Is(err, wire.StatusUnavailable) {
		t.Errorf("a call on a link that has ended: %v", err)
	}
	slow.hears.Store(true)
	if err := <-answered; err != nil || string(reply) != "seven" {
		t.Errorf("the one that was answered: %q, %v", reply, err)
	}
}

// deaf is a link whose answers are there and not polled yet.
type deaf struct {
	link.Link
	hears atomic.Bool
}

func (l *deaf) Poll(in []wire.Vesicle) (int, error) {
	if !l.hears.Load() {
		return 0, nil
	}
	return l.Link.Poll(in)
}

// Who only sends goes to the next server as soon as its own drains, and nothing
// that was sent meanwhile is lost.
func TestWhoOnlySendsLeavesAServerThatDrains(t *testing.T) {
	for _, o := range openers {
		t.Run(o.name, func(t *testing.T) {
			d := describeFlows(t, flowsOne)
			var told [2]atomic.Int64
			var servers [2]*rpc.Server
			for i := range servers {
				servers[i] = newServer(t, nil)
				err := servers[i].Register(d,
					rpc.Inline(func(*rpc.Call, []byte, []byte) (int, error) { told[i].Add(1); return 0, nil }),
					rpc.Blocking(func(context.Context, *rpc.Exchange) error { return nil }), rpc.Handler{})
				if err != nil {
					t.Fatal(err)
				}
			}
			e := startEngine(t, engine.IdleAdaptive)
			var dialed atomic.Int32
			conn, err := rpc.Connect(soon(t), func(context.Context) (link.Link, error) {
				a, b := o.open(t)
				return b, servers[dialed.Add(1)-1].Serve(e, a)
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ask, sent := make(raw, d.Methods[0].Request.Block), int64(0)
			send := func() {
				if err := conn.Send(soon(t), d.Method("Tell"), ask); err != nil {
					t.Fatal(err)
				}
				sent++
			}
			send()
			if err := servers[0].Drain(soon(t)); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(patience); dialed.Load() < 2 && time.Now().Before(end); {
				send()
				rpc.LetLookAgain(conn)
			}
			send()
			eventually(t, "every request arrives, the last ones at the next server", func() bool {
				return told[0].Load()+told[1].Load() == sent && told[1].Load() > 0
			})
		})
	}
}

// A one-way request of which the medium takes only a part at first arrives,
// though nobody polls afterwards.
func TestALargeOneWayRequestIsSentWhole(t *testing.T) {
	const size = 4 << 20
	d := describeFlows(t, flowsOne)
	s := newServer(t, nil)
	held, told := make(chan struct{}), make(chan int, 2)
	err := s.Register(d,
		rpc.Inline(func(_ *rpc.Call, req, _ []byte) (int, error) { <-held; told <- len(req); return 0, nil }),
		rpc.Blocking(func(context.Context, *rpc.Exchange) error { return nil }), rpc.Handler{})
	if err != nil {
		t.Fatal(err)
	}
	conn := connect(t, s, func(t testing.TB) (server, client link.Link) { return openUDSFor(t, uds.PathStream, size) }, nil)
	if err := conn.Send(soon(t), d.Method("Tell"), make(raw, 4)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() { sent <- conn.Send(soon(t), d.Method("Tell"), make(raw, size)) }()
	select { // while the handler keeps the server from reading, it can't all be on its way
	case err := <-sent:
		t.Errorf("sent already: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	close(held)
	for _, want := range []int{4, size} {
		select {
		case n := <-told:
			if n != want {
				t.Errorf("%d bytes, want %d", n, want)
			}
		case <-soon(t).Done():
			t.Fatalf("the request of %d bytes did not arrive", want)
		}
	}
}

// A call refused by a dispatcher was not executed: it is made again where the
// next server serves it, also when it is not idempotent.
func TestACallRefusedDuringASwap(t *testing.T) {
	d := describe(t, pricesOne)
	without, with := newServer(t, nil), newServer(t, nil)
	registerPrices(t, with, d, 2)
	e := startEngine(t, engine.IdleAdaptive)
	first := true
	var conn *rpc.Conn
	var err error
	conn, err = rpc.Connect(soon(t), func(context.Context) (link.Link, error) {
		a, b := openPipe(t)
		if first {
			first = false
			return &swapped{Link: b, lose: func() {
				_ = without.Close()
				rpc.LetLookAgain(conn)
			}}, without.Serve(e, a)
		}
		return b, with.Serve(e, a)
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var reply raw
	if err := conn.Call(soon(t), &d.Methods[0], order(d, 7), &reply); err != nil || len(reply) < 4 || reply[3] != 2 {
		t.Errorf("reply %v, %v", reply, err)
	}
}

// swapped is a link whose server ends right behind its first answer.
type swapped struct {
	link.Link
	lose func()
	done bool
}

func (l *swapped) Release(n int) error {
	err := l.Link.Release(n)
	if !l.done {
		l.done = true
		l.lose()
	}
	return err
}

// A handler that repeats the dispatcher's words is not taken for one.
func TestAHandlerCantSpeakForTheDispatcher(t *testing.T) {
	d := describe(t, pricesOne)
	s := newServer(t, nil)
	var runs atomic.Int32
	err := s.Register(d, rpc.Inline(func(*rpc.Call, []byte, []byte) (int, error) {
		runs.Add(1)
		return 0, &rpc.Error{Status: wire.StatusUnimplemented, Details: []byte(rpc.UnservedMark)}
	}))
	if err != nil {
		t.Fatal(err)
	}
	conn := connect(t, s, openPipe, nil)
	err = conn.Call(soon(t), &d.Methods[0], order(d, 7), &raw{})
	if !errors.Is(err, wire.StatusUnimplemented) || runs.Load() != 1 {
		t.Errorf("%v after %d runs", err, runs.Load())
	}
}
