package forward_test

import (
	"testing"

	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc/forward"
	"github.com/cell-runtime/cell/wire"
)

// What a target sends behind a cancel may end its call a second time.
func TestACanceledCallFailsAsWell(t *testing.T) {
	const calls = 4
	r := newRig(t, 1, &forward.Options{MaxCalls: calls}, linktest.PipeConfig{})
	k := r.callers[0]
	var sent [calls]wire.Header
	for n := range sent {
		r.send(k, request(uint32(n+1)), "")
		sent[n], _ = r.receive(r.device)
	}
	for n, h := range sent {
		cancel := request(uint32(n + 1))
		cancel.Kind = wire.KindCancel
		r.send(k, cancel, "")
		if got, _ := r.receive(r.device); got.Kind != wire.KindCancel || got.Correlation != h.Correlation {
			t.Fatalf("%+v", got)
		}
	}
	for n, h := range sent[:calls-1] {
		sendExhausted(r, r.device, answer(h, wire.KindReply))
		if s := r.status(k, uint32(n+1)); s != wire.StatusHops {
			t.Errorf("a reply at its last hop: %v", s)
		}
		if got, _ := r.receive(r.device); got.Kind != wire.KindCancel {
			t.Errorf("%+v; want a cancel", got)
		}
	}
	// All places can be had again, each once.
	for n := range calls {
		r.send(k, request(uint32(11+n)), "")
		sent[n], _ = r.receive(r.device)
	}
	if s := r.stats(); s.Evicted != calls || s.Calls != calls {
		t.Errorf("%+v", s)
	}
	for n, h := range sent {
		r.send(r.device, answer(h, wire.KindReply), "")
		if got, _ := r.receive(k); got.Kind != wire.KindReply || got.Correlation != uint32(11+n) {
			t.Errorf("%+v; want the reply of call %d", got, 11+n)
		}
	}
}
