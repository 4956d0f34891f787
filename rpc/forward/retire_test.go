package forward_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc/forward"
	"github.com/cell-runtime/cell/wire"
)

// Another target takes over the routes while a call is under way at the one
// before, which leaves when that is answered.
func TestATargetRetiresWithoutACallThatIsCut(t *testing.T) {
	r := newRig(t, 1, nil, linktest.PipeConfig{})
	caller, old, lost := r.callers[0], r.device, r.gone
	r.send(caller, wire.Header{Kind: wire.KindRequest, Correlation: 1, Fingerprint: method}, "first")
	begun, _ := r.receive(old)
	r.eventually("a call is under way", func(s forward.Stats) bool { return s.Calls == 1 })

	retired := make(chan error, 1)
	before := r.target
	go func() { retired <- before.Retire(context.Background()) }()
	next := r.f.NewTarget("device")
	r.target = next
	r.plug(linktest.PipeConfig{})
	for errors.Is(next.Route(method), forward.ErrRouted) { // until the old one has given it up
	}
	r.send(caller, wire.Header{Kind: wire.KindRequest, Correlation: 2, Fingerprint: method}, "second")
	if _, payload := r.receive(r.device); payload != "second" {
		t.Errorf("the new one got %q", payload)
	}
	select {
	case err := <-retired:
		t.Fatalf("it left with a call under way: %v", err)
	default:
	}
	if n, err := before.Live(); n != 1 || err != nil {
		t.Errorf("%d calls at the old one, %v", n, err)
	}
	r.send(old, wire.Header{Kind: wire.KindReply, Correlation: begun.Correlation, Fingerprint: method}, "answer")
	if h, payload := r.receive(caller); h.Correlation != 1 || h.Kind != wire.KindReply || payload != "answer" {
		t.Errorf("%+v %q", h, payload)
	}
	if err := <-retired; err != nil {
		t.Error(err)
	}
	if err := <-lost; errors.Is(err, link.ErrPeerGone) {
		t.Errorf("the link ended by %v", err)
	}
	if _, err := before.Attach(old); !errors.Is(err, forward.ErrClosed) {
		t.Errorf("a retired target takes a link: %v", err)
	}
}

// Whoever has no patience cuts what is under way.
func TestATargetRetiresForALimitedTime(t *testing.T) {
	r := newRig(t, 1, nil, linktest.PipeConfig{})
	r.send(r.callers[0], wire.Header{Kind: wire.KindRequest, Correlation: 1, Fingerprint: method}, "")
	r.receive(r.device)
	ctx, cancel := context.WithCancelCause(context.Background())
	hurry := errors.New("hurry")
	cancel(hurry)
	if err := r.target.Retire(ctx); !errors.Is(err, hurry) {
		t.Errorf("%v; want the cause of the context", err)
	}
	if s := r.status(r.callers[0], 1); s != wire.StatusPeerGone {
		t.Errorf("the call ended with %v", s)
	}
}
