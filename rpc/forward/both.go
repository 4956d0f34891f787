package forward

import (
	"errors"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// Calls lets the target call, too, over the link by which it is called: what it
// asks for is offered to r, which is another forwarder of the same engine, or a
// relay before one. Without it a target's requests are refused. It holds for
// links attached from now on. Errors: those of Serve.
//
// Both directions share a link's correlations without getting in each other's
// way: replies and errors answer, requests and cancels ask, and items, events
// and credits belong to a call of this forwarder if there is one of their
// correlation and fingerprint. So no method may be served on both sides.
func (t *Target) Calls(r rpc.Relay) error {
	return t.forwarder.do(func() error {
		if t.closed {
			return ErrClosed
		}
		t.calledBy = r
		return nil
	})
}

// asks reports whether a vesicle of the target's belongs to what it calls.
func (t *Target) asks(h *wire.Header) bool {
	switch h.Kind {
	case wire.KindRequest, wire.KindCancel:
		return true
	case wire.KindEvent, wire.KindStreamItem, wire.KindCredit:
		if _, served := t.routed[h.Fingerprint]; served {
			return false
		}
		c := t.forwarder.table.byID(h.Correlation, t)
		return c == nil || c.fingerprint != h.Fingerprint
	}
	return false
}

// offer passes on what the target calls.
func (t *Target) offer(p *engine.Port, v *wire.Vesicle) {
	err := t.refusal
	if err == nil {
		var taken bool
		if taken, err = t.asked.Offer(v); !taken {
			err = errNoRoute
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, link.ErrFull):
		p.Retry()
	case v.Header.Kind == wire.KindRequest:
		t.refusal = nil
		if errors.Is(p.ReplyErrorPayload(v, payloadOf(err)), link.ErrFull) {
			t.refusal = err
			p.Retry()
		}
	}
}
