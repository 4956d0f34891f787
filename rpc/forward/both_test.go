package forward_test

import (
	"bytes"
	"testing"

	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// A device that is called calls, too, with the same correlations at the same time.
func TestATargetThatCalls(t *testing.T) {
	r := newRig(t, 1, nil, linktest.PipeConfig{})
	r.send(r.device, wire.Header{Kind: wire.KindRequest, Fingerprint: other, Correlation: 3}, "no")
	if h, _ := r.receive(r.device); h.Kind != wire.KindError || h.Correlation != 3 {
		t.Fatalf("without Calls: %+v", h)
	}
	back := newForwarder(t, r.engine, nil)
	r.must(r.target.Calls(back))
	r.must(r.target.Detach())
	<-r.gone
	r.plug(linktest.PipeConfig{})
	cell := back.NewTarget("cell")
	r.must(cell.Route(other))
	near, far := pipe(t, linktest.PipeConfig{})
	_, err := cell.Attach(near)
	r.must(err)

	r.send(r.callers[0], wire.Header{Kind: wire.KindRequest, Fingerprint: method, Correlation: 9}, "down")
	down, payload := r.receive(r.device)
	if payload != "down" || down.Fingerprint != method {
		t.Fatalf("%+v %q", down, payload)
	}
	// The device's own call has the correlation of the one that it is asked.
	r.send(r.device, wire.Header{Kind: wire.KindRequest, Fingerprint: other, Correlation: down.Correlation}, "up")
	up, payload := r.receive(far)
	if payload != "up" || up.Fingerprint != other {
		t.Fatalf("%+v %q", up, payload)
	}
	for _, item := range []string{"first", "second"} {
		r.send(r.device, wire.Header{Kind: wire.KindStreamItem, Fingerprint: other, Correlation: down.Correlation}, item)
		if h, payload := r.receive(far); h.Kind != wire.KindStreamItem || h.Correlation != up.Correlation || payload != item {
			t.Errorf("%+v %q", h, payload)
		}
		r.send(r.device, wire.Header{Kind: wire.KindStreamItem, Fingerprint: method, Correlation: down.Correlation}, item)
		if h, payload := r.receive(r.callers[0]); h.Kind != wire.KindStreamItem || h.Correlation != 9 || payload != item {
			t.Errorf("%+v %q", h, payload)
		}
	}
	r.send(far, wire.Header{Kind: wire.KindReply, Fingerprint: other, Correlation: up.Correlation}, "answer from above")
	if h, payload := r.receive(r.device); h.Kind != wire.KindReply || h.Correlation != down.Correlation || h.Fingerprint != other || payload != "answer from above" {
		t.Errorf("%+v %q", h, payload)
	}
	r.send(r.device, wire.Header{Kind: wire.KindReply, Fingerprint: method, Correlation: down.Correlation}, "answer from below")
	if h, payload := r.receive(r.callers[0]); h.Kind != wire.KindReply || h.Correlation != 9 || payload != "answer from below" {
		t.Errorf("%+v %q", h, payload)
	}
	// Nobody serves that, and the device goes while it calls.
	r.send(r.device, wire.Header{Kind: wire.KindRequest, Fingerprint: 77, Correlation: 1}, "")
	// It is told so in the dispatcher's word, after which a caller tries another server.
	h, refusal := r.receive(r.device)
	p, err := wire.DecodeError([]byte(refusal))
	if h.Kind != wire.KindError || h.Correlation != 1 || err != nil || !bytes.Equal(p.Details, rpc.ErrUnserved.Details) {
		t.Errorf("%+v %+v %v", h, p, err)
	}
	r.send(r.device, wire.Header{Kind: wire.KindRequest, Fingerprint: other, Correlation: 2}, "up")
	up, _ = r.receive(far)
	_ = r.device.Close()
	if h, _ := r.receive(far); h.Kind != wire.KindCancel || h.Correlation != up.Correlation {
		t.Errorf("after the device has gone: %+v", h)
	}
}
