package engine

import (
	"github.com/cell-runtime/cell/wire"
)

// Handler receives the vesicles of a port, in order, on the engine's thread.
type Handler interface {
	// Handle runs to completion and must not block. v and its payload may be
	// read until Handle returns and never written. To be called again with
	// the same vesicle, because a link had no room for what follows from it,
	// call [Port.Retry] before returning.
	Handle(p *Port, v *wire.Vesicle)
}

// HandlerFunc makes a function a [Handler].
type HandlerFunc func(p *Port, v *wire.Vesicle)

// Handle calls f.
func (f HandlerFunc) Handle(p *Port, v *wire.Vesicle) { f(p, v) }

// BatchHandler is a [Handler] that takes all vesicles of a turn in one call.
// The engine uses HandleBatch where it is there, and Handle for single vesicles
// while it drains.
type BatchHandler interface {
	Handler
	// HandleBatch handles a prefix of vs, at least one long, and returns its
	// length. The rest is offered again in the next cycle, as by [Port.Retry].
	// If it panics, the requests behind what [Port.Handled] told are answered
	// with wire.StatusInternal.
	HandleBatch(p *Port, vs []wire.Vesicle) (done int)
}

// AddOption is an option of [Engine.Add].
type AddOption func(*Port)

// OnGone has f run exactly once, on the engine's thread, when the port has
// left the engine: err is the link's error (link.ErrPeerGone, link.ErrCorrupt,
// link.ErrClosed), ErrRemoved or ErrStopped. Everything that the peer had
// published before it died was handled before. The engine touches the link no
// more, so f may close it.
func OnGone(f func(p *Port, err error)) AddOption {
	return func(p *Port) { p.onGone = f }
}

// WithValue attaches a value to the port; see [Port.Value].
func WithValue(v any) AddOption {
	return func(p *Port) { p.value = v }
}

// CloseLink makes the engine the link's owner: it closes it after OnGone.
// Without this option the engine never closes a link.
func CloseLink() AddOption {
	return func(p *Port) { p.owned = true }
}

var _ Handler = HandlerFunc(nil)
