package wasm

import (
	"context"
	"errors"
	"fmt"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// relay has a module answer what a server has no methods for: all calls of a cell.
type relay struct{ m *Module }

// Attach implements rpc.Relay.
func (r relay) Attach(p *engine.Port) rpc.RelayLink { return &guestLink{m: r.m, port: p} }

// guestLink is one caller with its instance, whose memory no other caller's calls
// touch.
type guestLink struct {
	m     *Module
	port  *engine.Port
	guest *Instance // nil: none yet, or the last one trapped
	reply []byte    // to the request that is offered again, in the guest's memory
	owed  bool      // that is there
}

// Offer implements rpc.RelayLink: it copies a request into the guest's memory,
// which no other process shares, and the reply out of it.
func (l *guestLink) Offer(v *wire.Vesicle) (taken bool, err error) {
	if v.Header.Kind != wire.KindRequest {
		return false, nil
	}
	if !l.owed {
		if l.reply, err = l.ask(v); err != nil {
			return true, err
		}
	}
	err = l.port.Reply(v, l.reply)
	l.owed = errors.Is(err, link.ErrFull)
	return true, err
}

// UnderWay implements rpc.RelayLink: a request is answered at once, unless there
// was no room for the reply.
func (l *guestLink) UnderWay(*wire.Header) bool { return l.owed }

// ask has the guest answer a request.
func (l *guestLink) ask(v *wire.Vesicle) (reply []byte, err error) {
	ctx, payload := context.Background(), v.Payload
	if v.Header.Flags&wire.FlagFragment != 0 {
		return nil, rpc.Errorf(wire.StatusUnimplemented, "a module is asked in one piece, of at most %d bytes", l.port.Link().Info().MaxPayload)
	}
	if v.Header.Flags&wire.FlagDeadline != 0 {
		payload = payload[wire.DeadlineSize:] // the guest has no clock
	}
	if l.guest == nil {
		if l.guest, err = l.m.Spawn(ctx); err != nil {
			return nil, rpc.Errorf(wire.StatusResourceExhausted, "no instance of the module: %v", err)
		}
	}
	b, err := l.guest.Request(ctx, len(payload))
	if err == nil {
		copy(b, payload)
		reply, err = l.guest.Call(ctx, v.Header.Fingerprint, len(b))
	}
	if most := l.port.Link().Info().MaxPayload; err == nil && len(reply) > most {
		return nil, rpc.Errorf(wire.StatusResourceExhausted, "the reply has %d bytes; a module answers in one piece, of at most %d", len(reply), most)
	}
	var s wire.Status
	if err != nil && !errors.As(err, &s) {
		fmt.Println(err) // for whoever reads the cell's output
		l.Detach()
		err = rpc.Errorf(wire.StatusInternal, "%w; the next call has a new instance", err)
	}
	return reply, err
}

// Detach implements rpc.RelayLink.
func (l *guestLink) Detach() {
	if l.guest != nil {
		_ = l.guest.Close(context.Background())
		l.guest = nil
	}
}
