package engine_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/wire"
)

// patience bounds every wait in these tests; nothing comes near it unless it
// hangs.
const patience = 30 * time.Second

var modes = []engine.Idle{engine.IdleAdaptive, engine.IdleSpin, engine.IdleYield, engine.IdlePark}

// eachMode runs f as a subtest in every idle strategy.
func eachMode(t *testing.T, f func(t *testing.T, idle engine.Idle)) {
	t.Helper()
	for _, m := range modes {
		t.Run(m.String(), func(t *testing.T) { f(t, m) })
	}
}

// running starts an engine that ends with the test.
func running(t testing.TB, cfg engine.Config) *engine.Engine {
	t.Helper()
	cfg.CPU = engine.Unpinned
	e, err := engine.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return e
}

// pipe makes a pipe whose ends are closed after everything that was set up
// later has ended.
func pipe(t testing.TB, cfg linktest.PipeConfig) (near, far *linktest.End) {
	t.Helper()
	near, far, err := linktest.Pipe(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
	})
	return near, far
}

func add(t testing.TB, e *engine.Engine, l link.Link, h engine.Handler, options ...engine.AddOption) *engine.Port {
	t.Helper()
	p, err := e.Add(l, h, options...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func do(t testing.TB, e *engine.Engine, f func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := e.Do(ctx, f); err != nil {
		t.Fatalf("Do: %v", err)
	}
}

// send commits and flushes one vesicle; it reports whether there was room.
func send(t testing.TB, l link.Link, h wire.Header, payload string) bool {
	t.Helper()
	var out [1]wire.Vesicle
	if _, err := l.Claim(out[:], len(payload)); errors.Is(err, link.ErrFull) {
		return false
	} else if err != nil {
		t.Fatalf("Claim: %v", err)
	}
	copy(out[0].Payload, payload)
	out[0].Header = h
	if err := l.Commit(out[:]); err != nil {
		t.Fatalf("Commit: %v", err)
	}
	if err := l.Flush(); err != nil {
		t.Fatalf("Flush: %v", err)
	}
	return true
}

func request(correlation uint32) wire.Header {
	return wire.Header{Kind: wire.KindRequest, Fingerprint: 7, Correlation: correlation}
}

func event(n uint32) wire.Header {
	return wire.Header{Kind: wire.KindEvent, Fingerprint: 7, Correlation: n}
}

// got is a received vesicle, copied.
type got struct {
	wire.Header
	payload string
}

// receive waits for one vesicle.
func receive(t testing.TB, l link.Link) got {
	t.Helper()
	var in [1]wire.Vesicle
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Microsecond) {
		n, err := l.Poll(in[:])
		if err != nil {
			t.Fatalf("Poll: %v", err)
		}
		if n == 1 {
			g := got{in[0].Header, string(in[0].Payload)}
			if err := l.Release(1); err != nil {
				t.Fatal(err)
			}
			return g
		}
	}
	t.Fatal("nothing arrived")
	return got{}
}

// eventually waits until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(200 * time.Microsecond) {
		if f() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

func echo(p *engine.Port, v *wire.Vesicle) {
	if errors.Is(p.Reply(v, v.Payload), link.ErrFull) {
		p.Retry()
	}
}

func TestEcho(t *testing.T) {
	eachMode(t, func(t *testing.T, idle engine.Idle) {
		near, far := pipe(t, linktest.PipeConfig{})
		e := running(t, engine.Config{Idle: idle})
		add(t, e, near, engine.HandlerFunc(echo))
		for i := range uint32(100) {
			if i%10 == 9 {
				time.Sleep(time.Millisecond) // long enough for every strategy to fall asleep
			}
			h := request(i)
			h.Flags = wire.Flags(0).WithPriority(2)
			h.Channel = wire.ChannelOperations
			send(t, far, h, "ping")
			g := receive(t, far)
			if g.Kind != wire.KindReply || g.Correlation != i || g.Fingerprint != 7 || g.payload != "ping" ||
				g.Flags.Priority() != 2 || g.Channel != wire.ChannelOperations || g.Hops == 0 {
				t.Fatalf("reply %d: %+v", i, g)
			}
		}
		if s := e.Stats(); idle == engine.IdlePark && s.Parks == 0 {
			t.Error("IdlePark never parked")
		}
	})
}

func TestReplyRefusals(t *testing.T) {
	near, far := pipe(t, linktest.PipeConfig{MaxPayload: 64})
	e := running(t, engine.Config{})
	results := make(chan error, 8)
	add(t, e, near, engine.HandlerFunc(func(p *engine.Port, v *wire.Vesicle) {
		results <- p.Reply(v, nil)
		if v.Header.Kind == wire.KindRequest {
			results <- p.Reply(v, make([]byte, 65))
			_, err := p.Claim(1)
			results <- err
			_, err = p.Claim(1)
			results <- err
			p.Abort()
			results <- p.ReplyError(v, wire.StatusNotFound, strings.Repeat("x", 100))
			results <- p.ReplyErrorPayload(v, wire.ErrorPayload{Status: wire.StatusNotFound, Message: "why", Details: make([]byte, 53)})
			results <- p.ReplyErrorPayload(v, wire.ErrorPayload{Status: wire.StatusNotFound, Message: "why", Details: make([]byte, 54)})
		}
	}))
	send(t, far, event(1), "")
	if err := <-results; !errors.Is(err, engine.ErrNotRequest) {
		t.Errorf("reply to an event: %v", err)
	}
	send(t, far, request(2), "")
	for _, want := range []error{nil, link.ErrTooLarge, nil, link.ErrOrder, nil, nil, nil} {
		if err := <-results; !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	receive(t, far)
	g := receive(t, far)
	payload, err := wire.DecodeError([]byte(g.payload))
	if err != nil || g.Kind != wire.KindError || payload.Status != wire.StatusNotFound || len(payload.Message) != 64-8 {
		t.Errorf("error reply cut to the link's maximum: %+v %+v %v", g, payload, err)
	}
	for _, details := range []int{53, 0} { // a byte more is too much beside the message
		g := receive(t, far)
		if p, err := wire.DecodeError([]byte(g.payload)); err != nil || p.Message != "why" || len(p.Details) != details {
			t.Errorf("details: %+v %v, want %d bytes", p, err, details)
		}
	}
}

func TestOpenClaimIsAborted(t *testing.T) {
	near, far := pipe(t, linktest.PipeConfig{Slots: 1})
	e := running(t, engine.Config{})
	add(t, e, near, engine.HandlerFunc(func(p *engine.Port, v *wire.Vesicle) {
		if v.Header.Kind == wire.KindEvent {
			_, _ = p.Claim(1) // and forgotten
			return
		}
		echo(p, v)
	}))
	send(t, far, event(1), "")
	eventually(t, "abort", func() bool { return e.Stats().Aborted == 1 })
	send(t, far, request(2), "room")
	if g := receive(t, far); g.Correlation != 2 {
		t.Errorf("after the abort: %+v", g)
	}
}

// batchEcho echoes in batches, of at most three, and panics on demand.
type batchEcho struct{ calls atomic.Int64 }

func (b *batchEcho) Handle(p *engine.Port, v *wire.Vesicle) { echo(p, v) }

func (b *batchEcho) HandleBatch(p *engine.Port, vs []wire.Vesicle) int {
	b.calls.Add(1)
	vs = vs[:min(3, len(vs))]
	for i := range vs {
		if string(vs[i].Payload) == "panic" {
			panic("on demand")
		}
		if p.Reply(&vs[i], vs[i].Payload) != nil {
			return i
		}
		p.Handled(i + 1)
	}
	return len(vs)
}

func TestBatchHandler(t *testing.T) {
	near, far := pipe(t, linktest.PipeConfig{Slots: 16})
	for i := range uint32(10) {
		payload := "ok"
		if i == 4 {
			payload = "panic"
		}
		send(t, far, request(i), payload)
	}
	e := running(t, engine.Config{})
	h := &batchEcho{}
	add(t, e, near, h)
	for i := range uint32(10) {
		g := receive(t, far)
		// The fifth panics and takes the rest of what HandleBatch was given.
		want := wire.KindReply
		if i >= 4 {
			want = wire.KindError
		}
		if g.Correlation != i || g.Kind != want {
			t.Errorf("answer %d: %+v, want kind %v", i, g, want)
		}
	}
	if n := h.calls.Load(); n != 2 {
		t.Errorf("%d calls of HandleBatch, want 2", n)
	}
}

func TestStartSaysThatItBurnsACore(t *testing.T) {
	for idle, want := range map[engine.Idle]bool{engine.IdleSpin: true, engine.IdleYield: true, engine.IdlePark: false} {
		var b lockedBuffer
		e := running(t, engine.Config{Idle: idle, Logger: slog.New(slog.NewTextHandler(&b, nil))})
		if said := strings.Contains(b.String(), "burns a whole core"); said != want {
			t.Errorf("%v: said so: %v, want %v: %s", idle, said, want, b.String())
		}
		if err := e.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}
