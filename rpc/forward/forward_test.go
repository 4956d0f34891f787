package forward_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/forward"
	"github.com/cell-runtime/cell/wire"
)

func budget(d time.Duration, rest string) string {
	var b [wire.DeadlineSize]byte
	wire.PutDeadline(&b, uint64(d))
	return string(b[:]) + rest
}

func budgetOf(t testing.TB, payload string) time.Duration {
	t.Helper()
	if len(payload) < wire.DeadlineSize {
		t.Fatalf("%q has no deadline", payload)
	}
	return time.Duration(wire.Deadline((*[wire.DeadlineSize]byte)([]byte(payload))))
}

// Two callers that choose the same correlation get each their own answer.
func TestCorrelationsAreTheForwardersOwn(t *testing.T) {
	r := newRig(t, 2, nil, linktest.PipeConfig{})
	var seen [2]wire.Header
	for i, k := range r.callers {
		r.send(k, request(7), string(rune('a'+i)))
		h, payload := r.receive(r.device)
		if payload != string(rune('a'+i)) || h.Hops != 15 || h.Kind != wire.KindRequest || h.Fingerprint != method || h.Correlation == 0 {
			t.Fatalf("%+v %q", h, payload)
		}
		seen[i] = h
	}
	if seen[0].Correlation == seen[1].Correlation {
		t.Fatal("two calls with one correlation")
	}
	for i := len(seen) - 1; i >= 0; i-- {
		r.send(r.device, answer(seen[i], wire.KindReply), string(rune('A'+i)))
	}
	for i, k := range r.callers {
		if h, payload := r.receive(k); payload != string(rune('A'+i)) || h.Correlation != 7 || h.Hops != 15 || h.Kind != wire.KindReply {
			t.Errorf("caller %d: %+v %q", i, h, payload)
		}
	}
	if s := r.stats(); s.Calls != 0 || s.Forwarded != 4 || s.Requests != 2 {
		t.Errorf("%+v", s)
	}
}

func TestLateAnswersReachNobody(t *testing.T) {
	r := newRig(t, 1, &forward.Options{MaxCalls: 1}, linktest.PipeConfig{})
	k := r.callers[0]
	r.send(k, request(1), "")
	first, _ := r.receive(r.device)
	r.send(r.device, answer(first, wire.KindReply), "")
	r.receive(k)
	r.send(k, request(2), "") // in the same place
	second, _ := r.receive(r.device)
	for name, h := range map[string]wire.Header{
		"answered before":   answer(first, wire.KindReply),
		"never given":       {Fingerprint: method, Correlation: second.Correlation ^ 1<<20, Kind: wire.KindReply},
		"of another method": {Fingerprint: other, Correlation: second.Correlation, Kind: wire.KindReply},
	} {
		t.Run(name, func(t *testing.T) {
			before := r.stats().Late
			r.send(r.device, h, "wrong")
			r.eventually("dropped", func(s forward.Stats) bool { return s.Late == before+1 })
			r.silent(k)
		})
	}
	r.send(r.device, answer(second, wire.KindReply), "right")
	if h, payload := r.receive(k); h.Correlation != 2 || payload != "right" {
		t.Errorf("%+v %q", h, payload)
	}
}

func TestHops(t *testing.T) {
	r := newRig(t, 1, nil, linktest.PipeConfig{})
	k := r.callers[0]
	end := request(1)
	end.Hops = 1
	r.send(k, end, "")
	h, _ := r.receive(r.device)
	if h.Hops != 0 {
		t.Fatalf("%+v", h)
	}
	// A reply that may go no further must not leave its caller waiting.
	near, far := pipe(t, linktest.PipeConfig{})
	if _, err := r.f.AddCaller(near); err != nil {
		t.Fatal(err)
	}
	sendExhausted(r, far, request(5))
	if s := r.status(far, 5); s != wire.StatusHops {
		t.Errorf("a request at its last hop: %v", s)
	}
	reply := answer(h, wire.KindReply)
	sendExhausted(r, r.device, reply)
	if s := r.status(k, 1); s != wire.StatusHops {
		t.Errorf("a reply at its last hop: %v", s)
	}
	if h, _ := r.receive(r.device); h.Kind != wire.KindCancel {
		t.Errorf("the target got %+v; want a cancel", h)
	}
	if s := r.stats(); s.Hops != 2 || s.Calls != 0 {
		t.Errorf("%+v", s)
	}
}

// sendExhausted sends a vesicle with no hop left.
func sendExhausted(r *rig, l link.Link, h wire.Header) {
	r.Helper()
	var v [1]wire.Vesicle
	if _, err := l.Claim(v[:], 0); err != nil {
		r.Fatal(err)
	}
	h.Hops = 0
	v[0].Header = h
	r.must(l.Commit(v[:]))
	r.must(l.Flush())
}

func TestDeadline(t *testing.T) {
	timed := func(correlation uint32) wire.Header {
		h := request(correlation)
		h.Flags = wire.FlagDeadline
		return h
	}
	t.Run("passes as it is", func(t *testing.T) {
		r := newRig(t, 1, nil, linktest.PipeConfig{})
		r.send(r.callers[0], timed(1), budget(time.Minute, "x"))
		if _, payload := r.receive(r.device); budgetOf(t, payload) != time.Minute || payload[8:] != "x" {
			t.Errorf("%q", payload)
		}
	})
	t.Run("is used up at the target", func(t *testing.T) {
		r := newRig(t, 1, nil, linktest.PipeConfig{})
		r.send(r.callers[0], timed(1), budget(20*time.Millisecond, ""))
		h, _ := r.receive(r.device)
		if s := r.status(r.callers[0], 1); s != wire.StatusDeadlineExceeded {
			t.Error(s)
		}
		if c, _ := r.receive(r.device); c.Kind != wire.KindCancel || c.Correlation != h.Correlation {
			t.Errorf("%+v; want the cancel of %+v", c, h)
		}
		r.send(r.device, answer(h, wire.KindReply), "")
		r.eventually("the late answer", func(s forward.Stats) bool { return s.Late == 1 && s.Calls == 0 })
		r.silent(r.callers[0])
	})
	t.Run("goes on while the target's link is full", func(t *testing.T) {
		r := newRig(t, 1, nil, linktest.PipeConfig{Slots: 1})
		r.send(r.callers[0], request(1), "in the way")
		r.send(r.callers[0], timed(2), budget(time.Minute, ""))
		r.eventually("both begun", func(s forward.Stats) bool { return s.Calls == 2 })
		time.Sleep(30 * time.Millisecond)
		r.receive(r.device)
		if _, payload := r.receive(r.device); budgetOf(t, payload) > time.Minute-10*time.Millisecond || budgetOf(t, payload) < time.Second {
			t.Errorf("%v are left", budgetOf(t, payload))
		}
	})
	t.Run("is used up before the target's link has room", func(t *testing.T) {
		r := newRig(t, 1, nil, linktest.PipeConfig{Slots: 1})
		r.send(r.callers[0], request(1), "in the way")
		r.send(r.callers[0], timed(2), budget(10*time.Millisecond, ""))
		if s := r.status(r.callers[0], 2); s != wire.StatusDeadlineExceeded {
			t.Error(s)
		}
		r.receive(r.device)
		r.silent(r.device) // it was never passed on
	})
}

// Streams in both directions, credits and cancellation pass like what they are.
func TestStreams(t *testing.T) {
	r := newRig(t, 1, nil, linktest.PipeConfig{})
	k := r.callers[0]
	r.send(k, request(9), "")
	h, _ := r.receive(r.device)
	for _, v := range []struct {
		kind  wire.Kind
		flags wire.Flags
	}{
		{wire.KindStreamItem, wire.Flags(0).WithPriority(2)}, {wire.KindStreamItem, wire.FlagEnd}, {wire.KindCredit, 0},
	} {
		up := request(9)
		up.Kind, up.Flags = v.kind, v.flags
		r.send(k, up, "abcd")
		if got, payload := r.receive(r.device); got.Kind != v.kind || got.Flags != v.flags || got.Correlation != h.Correlation || payload != "abcd" {
			t.Errorf("to the target: %+v %q", got, payload)
		}
		down := answer(h, v.kind)
		down.Flags = v.flags
		r.send(r.device, down, "efgh")
		if got, payload := r.receive(k); got.Kind != v.kind || got.Flags != v.flags || got.Correlation != 9 || payload != "efgh" {
			t.Errorf("to the caller: %+v %q", got, payload)
		}
	}
	r.send(r.device, answer(h, wire.KindEvent), "event")
	if got, payload := r.receive(k); got.Kind != wire.KindEvent || payload != "event" {
		t.Errorf("%+v %q", got, payload)
	}
	cancel := request(9)
	cancel.Kind = wire.KindCancel
	r.send(k, cancel, "")
	if got, _ := r.receive(r.device); got.Kind != wire.KindCancel || got.Correlation != h.Correlation {
		t.Errorf("%+v", got)
	}
	// The answer to a canceled call still tells its caller that it is over.
	r.send(r.device, answer(h, wire.KindError), "\x01\x00\x00\x00\x00\x00\x00\x00")
	if s := r.status(k, 9); s != wire.StatusCanceled {
		t.Error(s)
	}
	late := request(9)
	late.Kind = wire.KindStreamItem
	r.send(k, late, "")
	r.eventually("an item behind the end", func(s forward.Stats) bool { return s.Late == 1 })
	r.silent(r.device)
}

func TestOneWay(t *testing.T) {
	r := newRig(t, 1, nil, linktest.PipeConfig{})
	h := request(0)
	h.Kind = wire.KindEvent
	r.send(r.callers[0], h, "note")
	if got, payload := r.receive(r.device); got.Kind != wire.KindEvent || got.Correlation != 0 || got.Hops != 15 || payload != "note" {
		t.Errorf("%+v %q", got, payload)
	}
}

// The device is unplugged and plugged in again: every call in between ends.
func TestTargetComesAndGoes(t *testing.T) {
	r := newRig(t, 2, nil, linktest.PipeConfig{})
	for round := range 3 {
		r.send(r.callers[0], request(1), "")
		r.receive(r.device)
		r.must(r.device.Close())
		if s := r.status(r.callers[0], 1); s != wire.StatusPeerGone {
			t.Errorf("round %d: under way: %v", round, s)
		}
		if err := <-r.gone; !errors.Is(err, link.ErrPeerGone) {
			t.Errorf("round %d: gone: %v", round, err)
		}
		r.send(r.callers[1], request(2), "")
		if s := r.status(r.callers[1], 2); s != wire.StatusUnavailable {
			t.Errorf("round %d: without a link: %v", round, s)
		}
		r.plug(linktest.PipeConfig{})
		r.send(r.callers[1], request(3), "")
		h, _ := r.receive(r.device)
		r.send(r.device, answer(h, wire.KindReply), "")
		if h, _ := r.receive(r.callers[1]); h.Correlation != 3 || h.Kind != wire.KindReply {
			t.Errorf("round %d: %+v", round, h)
		}
	}
	if s := r.stats(); s.Calls != 0 {
		t.Errorf("%+v", s)
	}
}

// What the target had sent before it went still reaches the caller.
func TestAnswerBeforeTheEnd(t *testing.T) {
	r := newRig(t, 1, nil, linktest.PipeConfig{})
	r.send(r.callers[0], request(1), "")
	h, _ := r.receive(r.device)
	r.send(r.device, answer(h, wire.KindReply), "in time")
	r.must(r.device.Close())
	if h, payload := r.receive(r.callers[0]); h.Kind != wire.KindReply || payload != "in time" {
		t.Errorf("%+v %q", h, payload)
	}
}

func TestCallerGoes(t *testing.T) {
	r := newRig(t, 2, nil, linktest.PipeConfig{})
	r.send(r.callers[0], request(1), "")
	h, _ := r.receive(r.device)
	r.must(r.callers[0].Close())
	if c, _ := r.receive(r.device); c.Kind != wire.KindCancel || c.Correlation != h.Correlation || c.Fingerprint != method {
		t.Errorf("%+v; want the cancel of %+v", c, h)
	}
	r.send(r.device, answer(h, wire.KindReply), "")
	r.eventually("its answer dropped", func(s forward.Stats) bool { return s.Late == 1 && s.Calls == 0 })
	r.silent(r.callers[1])
}

func TestExhaustion(t *testing.T) {
	for _, c := range []struct {
		name string
		o    forward.Options
	}{
		{"of all places", forward.Options{MaxCalls: 4}},
		{"of one caller's", forward.Options{MaxCalls: 100, PerCaller: 4}},
		{"of one target's", forward.Options{MaxCalls: 100, PerTarget: 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, 1, &c.o, linktest.PipeConfig{})
			k := r.callers[0]
			var first wire.Header
			for i := range uint32(4) {
				r.send(k, request(i+1), "")
				if h, _ := r.receive(r.device); i == 0 {
					first = h
				}
			}
			r.send(k, request(5), "")
			if s := r.status(k, 5); s != wire.StatusResourceExhausted {
				t.Errorf("one too many: %v", s)
			}
			r.send(r.device, answer(first, wire.KindReply), "")
			r.receive(k)
			r.send(k, request(6), "")
			if h, _ := r.receive(r.device); h.Correlation == first.Correlation {
				t.Error("a correlation was used again at once")
			}
		})
	}
}

// Calls that were canceled and never answered don't fill the table for ever.
func TestCanceledCallsAreForgotten(t *testing.T) {
	r := newRig(t, 1, &forward.Options{MaxCalls: 4}, linktest.PipeConfig{})
	k := r.callers[0]
	for i := range uint32(50) {
		r.send(k, request(i+1), "")
		r.receive(r.device)
		cancel := request(i + 1)
		cancel.Kind = wire.KindCancel
		r.send(k, cancel, "")
		r.receive(r.device)
	}
	if s := r.stats(); s.Calls != 0 || s.Evicted != 46 || s.Refused != 0 {
		t.Errorf("%+v", s)
	}
}

func TestWhoDoesNotReadIsDisconnected(t *testing.T) {
	r := newRig(t, 1, &forward.Options{Patience: 30 * time.Millisecond}, linktest.PipeConfig{})
	deaf := r.addCaller(linktest.PipeConfig{Slots: 1})
	r.send(deaf, request(1), "")
	h, _ := r.receive(r.device)
	for range 2 {
		r.send(r.device, answer(h, wire.KindStreamItem), "")
	}
	r.send(r.callers[0], request(1), "")
	for { // behind the cancel of what the other one had under way
		if h, _ = r.receive(r.device); h.Kind == wire.KindRequest {
			break
		}
	}
	r.send(r.device, answer(h, wire.KindReply), "")
	if h, _ := r.receive(r.callers[0]); h.Kind != wire.KindReply {
		t.Errorf("%+v", h)
	}
	r.eventually("the deaf one disconnected", func(s forward.Stats) bool { return s.Kicked == 1 && s.Calls == 0 })
	var v [2]wire.Vesicle
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		n, err := deaf.Poll(v[:])
		if errors.Is(err, link.ErrPeerGone) {
			break
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("%d, %v", n, err)
		}
	}
}

func TestWhatTakesNothingIsRefused(t *testing.T) {
	r := newRig(t, 1, &forward.Options{Patience: 20 * time.Millisecond}, linktest.PipeConfig{Slots: 1})
	k := r.callers[0]
	r.send(k, request(1), "")
	r.send(k, request(2), "") // waits
	if s := r.status(k, 2); s != wire.StatusResourceExhausted {
		t.Error(s)
	}
	item := request(1)
	item.Kind = wire.KindStreamItem
	r.send(k, item, "")
	if s := r.status(k, 1); s != wire.StatusResourceExhausted {
		t.Errorf("a stream whose items are not taken: %v", s)
	}
	r.receive(r.device)
	for { // the cancel, as soon as there was room
		if h, _ := r.receive(r.device); h.Kind == wire.KindCancel {
			break
		}
	}
	if s := r.stats(); s.Calls != 0 {
		t.Errorf("%+v", s)
	}
}

// The target goes while a request waits for room in its link: that one ends once,
// as not executed.
func TestRequestIsHeldWhenTheTargetGoes(t *testing.T) {
	r := newRig(t, 1, &forward.Options{Patience: time.Hour}, linktest.PipeConfig{Slots: 1})
	k := r.callers[0]
	r.send(k, request(1), "")
	r.send(k, request(2), "") // waits
	r.eventually("both begun", func(s forward.Stats) bool { return s.Calls == 2 })
	r.must(r.device.Close())
	got := map[uint32]wire.Status{}
	for range 2 {
		h, payload := r.receive(k)
		p, err := wire.DecodeError([]byte(payload))
		r.must(err)
		got[h.Correlation] = p.Status
	}
	if got[1] != wire.StatusPeerGone || got[2] != wire.StatusUnavailable {
		t.Errorf("%v; want peer gone, and unavailable for what was never sent", got)
	}
	r.silent(k) // each ended once
	r.plug(linktest.PipeConfig{})
	r.send(k, request(3), "")
	if h, _ := r.receive(r.device); h.Kind != wire.KindRequest {
		t.Errorf("%+v", h)
	}
	r.silent(r.device)
}

func TestRoutes(t *testing.T) {
	r := newRig(t, 1, nil, linktest.PipeConfig{})
	k := r.callers[0]
	second := r.f.NewTarget("second")
	if err := second.Route(method); !errors.Is(err, forward.ErrRouted) || !strings.Contains(err.Error(), "device") {
		t.Errorf("a route that is taken: %v", err)
	}
	if err := second.Route(0); !errors.Is(err, forward.ErrRouted) {
		t.Errorf("fingerprint 0: %v", err)
	}
	r.must(second.Route(other))
	h := request(1)
	h.Fingerprint = 77
	r.send(k, h, "")
	h, payload := r.receive(k)
	if p, err := wire.DecodeError([]byte(payload)); err != nil || h.Kind != wire.KindError || p.Status != wire.StatusUnimplemented ||
		!bytes.Equal(p.Details, rpc.ErrUnserved.Details) {
		t.Errorf("without a route: %+v %q; want the word of a dispatcher", h, payload)
	}
	near, _ := pipe(t, linktest.PipeConfig{})
	if _, err := r.target.Attach(near); !errors.Is(err, forward.ErrTaken) {
		t.Errorf("a second link: %v", err)
	}
	r.send(k, request(2), "")
	r.receive(r.device)
	r.must(r.target.Close())
	if s := r.status(k, 2); s != wire.StatusPeerGone {
		t.Errorf("closed: %v", s)
	}
	if _, err := r.target.Attach(near); !errors.Is(err, forward.ErrClosed) {
		t.Errorf("a link for a closed target: %v", err)
	}
	r.send(k, request(3), "")
	if s := r.status(k, 3); s != wire.StatusUnimplemented {
		t.Errorf("a route of a closed target: %v", s)
	}
	r.must(second.Route(method)) // is free again
	r.must(second.Unroute(method, 99))
}

func TestDrain(t *testing.T) {
	r := newRig(t, 1, nil, linktest.PipeConfig{})
	r.send(r.callers[0], request(1), "")
	h, _ := r.receive(r.device)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	if err := r.f.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a call under way: %v", err)
	}
	r.send(r.device, answer(h, wire.KindReply), "")
	r.must(r.f.Drain(t.Context()))
}

func TestOptions(t *testing.T) {
	e := startEngine(t)
	for _, o := range []forward.Options{
		{MaxCalls: -1}, {MaxCalls: 1 << 21}, {MaxCalls: 4, PerCaller: 5}, {PerTarget: -1}, {Patience: -1}, {Patience: 2 * time.Hour},
	} {
		if _, err := forward.New(e, &o); !errors.Is(err, forward.ErrOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := forward.New(nil, nil); !errors.Is(err, forward.ErrArgument) {
		t.Error(err)
	}
}
