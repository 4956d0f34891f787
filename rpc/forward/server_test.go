package forward_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/forward"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/wire"
)

// gateway is a server with one service of its own, and a relay.
func gateway(t testing.TB, o rpc.ServerOptions) (*rpc.Server, *forward.Forwarder, *rpc.Conn) {
	t.Helper()
	e := startEngine(t)
	f := newForwarder(t, e, nil)
	o.Relay = f
	s, err := rpc.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	near, far := pipe(t, linktest.PipeConfig{})
	if err := s.Serve(e, near); err != nil {
		t.Fatal(err)
	}
	conn, err := rpc.NewConn(far, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return s, f, conn
}

// device is a server behind the gateway.
func device(t testing.TB) (*rpc.Server, link.Link) {
	t.Helper()
	s, err := rpc.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := arith.RegisterArith(s, &arith.Blocking{Hang: make(chan struct{})}); err != nil {
		t.Fatal(err)
	}
	near, far := pipe(t, linktest.PipeConfig{})
	if err := s.Serve(startEngine(t), near); err != nil {
		t.Fatal(err)
	}
	return s, far
}

const lampText = `cell 1

struct Lamp {
	On bool
}

service Lamps {
	call Switch(Lamp) Lamp
	topic Switched(Lamp)
}
`

func TestServerSpeaksOfWhatItReaches(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, f, conn := gateway(t, rpc.ServerOptions{Operations: func(link.Peer, rpc.Operation) error { return nil }})
	lamps, err := rpc.ParseServices(lampText)
	if err != nil || len(lamps) != 1 {
		t.Fatal(lamps, err)
	}
	mine := func(c *rpc.Call, request, reply []byte) (int, error) { return copy(reply, request), nil }
	if err := s.Register(lamps[0], rpc.Inline(mine), rpc.Handler{}); err != nil {
		t.Fatal(err)
	}
	c := arith.NewArithClient(conn)
	if _, err := c.Add(ctx, arith.AddRequest{A: 1}); !errors.Is(err, wire.StatusUnimplemented) {
		t.Fatalf("before there is a route: %v", err)
	}

	far, l := device(t)
	d := f.NewTarget("the calculator")
	if err := errors.Join(d.Serve(arith.ArithDesc), s.Announce(arith.ArithDesc), s.Announce(arith.ArithDesc)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Add(ctx, arith.AddRequest{A: 1}); !errors.Is(err, wire.StatusUnavailable) {
		t.Fatalf("before there is a link: %v", err)
	}
	gone, err := d.Attach(l)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.Add(ctx, arith.AddRequest{A: 20, B: 22}); err != nil || r.Sum != 42 {
		t.Errorf("forwarded: %+v, %v", r, err)
	}
	own, err := conn.List(ctx)
	if err != nil || len(own) != 2 || own[1].Name != "Arith" || len(own[1].Methods) != len(arith.ArithDesc.Methods) {
		t.Errorf("list: %+v, %v", own, err)
	}
	if text, err := conn.Describe(ctx, "Arith"); err != nil || text != arith.ArithDesc.Text {
		t.Errorf("describe: %q, %v", text, err)
	}
	all, err := conn.Bind(ctx, arith.ArithDesc)
	if err != nil || all[0].Outcome != rpc.BindSame {
		t.Errorf("bind: %+v, %v", all, err)
	}

	// The server's own draining comes first; nothing new passes.
	if err := s.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Add(ctx, arith.AddRequest{}); !errors.Is(err, wire.StatusDraining) {
		t.Errorf("draining: %v", err)
	}
	s.Withdraw(arith.ArithDesc)
	s.Withdraw(arith.ArithDesc)
	if left := s.Services(); len(left) != 1 || left[0].Name != "Lamps" {
		t.Errorf("withdrawn: %+v", left)
	}
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-gone; !errors.Is(err, link.ErrPeerGone) {
		t.Errorf("gone: %v", err)
	}
}

// The server's own methods are its own, also when another place has a route.
func TestOwnMethodsAreNotForwarded(t *testing.T) {
	s, f, conn := gateway(t, rpc.ServerOptions{})
	impl := &arith.Blocking{Hang: make(chan struct{})}
	if err := arith.RegisterArith(s, impl); err != nil {
		t.Fatal(err)
	}
	d := f.NewTarget("another")
	if err := d.Serve(arith.ArithDesc); err != nil {
		t.Fatal(err)
	}
	if r, err := arith.NewArithClient(conn).Add(t.Context(), arith.AddRequest{A: 1, B: 2}); err != nil || r.Sum != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	if n, err := f.Stats(); err != nil || n.Requests != 0 {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestKeep(t *testing.T) {
	_, f, conn := gateway(t, rpc.ServerOptions{})
	d := f.NewTarget("a device that comes and goes")
	if err := d.Serve(arith.ArithDesc); err != nil {
		t.Fatal(err)
	}
	devices := make(chan *rpc.Server, 1)
	refused := errors.New("not this one")
	dials, ups := 0, 0
	var dialed *rpc.Server
	ctx, cancel := context.WithCancelCause(t.Context())
	kept := make(chan error, 1)
	go func() {
		kept <- d.Keep(ctx, func(context.Context) (link.Link, error) {
			if dials++; dials == 1 {
				return nil, errors.New("nobody there")
			}
			s, l := device(t)
			dialed = s
			return l, nil
		}, func(context.Context, link.Link) error {
			if ups++; ups == 1 {
				return refused
			}
			devices <- dialed
			return nil
		})
	}()
	c := arith.NewArithClient(conn)
	for range 3 {
		s := <-devices
		for { // until the link is attached
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			r, err := c.Add(ctx, arith.AddRequest{A: 1, B: 2})
			cancel()
			if err == nil && r.Sum == 3 {
				break
			}
			if !errors.Is(err, wire.StatusUnavailable) {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	stop := errors.New("enough")
	cancel(stop)
	if err := <-kept; !errors.Is(err, stop) {
		t.Errorf("Keep returned %v", err)
	}
}

// relaying is a rig whose only caller calls a server that relays to it.
func relaying(t *testing.T, c linktest.PipeConfig) (*rig, *rpc.Server, *linktest.End) {
	t.Helper()
	r := newRig(t, 0, nil, c)
	s, err := rpc.NewServer(&rpc.ServerOptions{Relay: r.f})
	r.must(err)
	near, far := pipe(t, linktest.PipeConfig{})
	r.must(s.Serve(r.engine, near))
	return r, s, far
}

// What a relay has begun goes on while the server drains, and nothing else
// begins.
func TestCallsUnderWayPassWhileTheServerDrains(t *testing.T) {
	ends := func(r *rig, far *linktest.End, h wire.Header, correlation uint32) {
		r.Helper()
		r.send(r.device, answer(h, wire.KindReply), "done")
		if h, payload := r.receive(far); h.Kind != wire.KindReply || h.Correlation != correlation || payload != "done" {
			t.Errorf("%+v %q", h, payload)
		}
		r.send(far, request(99), "")
		if s := r.status(far, 99); s != wire.StatusDraining {
			t.Errorf("another call: %v", s)
		}
	}
	t.Run("pieces of a request", func(t *testing.T) {
		r, s, far := relaying(t, linktest.PipeConfig{})
		piece := func(offset int, text string) {
			var prefix [wire.FragmentSize]byte
			wire.PutFragment(&prefix, wire.Fragment{Total: 8, Offset: uint32(offset)})
			h := request(5)
			if h.Flags = wire.FlagFragment; offset == 0 {
				h.Flags |= wire.FlagMore
			}
			r.send(far, h, string(prefix[:])+text)
		}
		piece(0, "half")
		r.receive(r.device)
		r.must(s.Drain(t.Context()))
		piece(4, "rest")
		h, payload := r.receive(r.device)
		if !strings.HasSuffix(payload, "rest") {
			t.Errorf("%+v %q", h, payload)
		}
		ends(r, far, h, 5)
	})
	t.Run("a request that waits for room", func(t *testing.T) {
		r, s, far := relaying(t, linktest.PipeConfig{Slots: 1})
		r.send(far, request(1), "in the way")
		r.send(far, request(2), "waits")
		r.eventually("both begun", func(s forward.Stats) bool { return s.Calls == 2 })
		r.must(s.Drain(t.Context()))
		r.receive(r.device)
		h, payload := r.receive(r.device)
		if payload != "waits" {
			t.Errorf("%+v %q", h, payload)
		}
		ends(r, far, h, 2)
	})
}
