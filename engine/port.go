package engine

import (
	"errors"
	"fmt"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/wire"
)

// Port is a link's place in an engine. Except for [Port.ID], [Port.Engine] and
// [Port.Link] its methods belong to the engine's thread: call them from
// handlers, timers, OnGone and functions run by [Engine.Do].
//
// What a handler sends travels when the engine flushes, once a cycle. What it
// claims it commits before it returns: a claim that is still open at the end
// of the cycle is aborted and counted in Stats.Aborted.
type Port struct {
	// What a turn touches comes first, to share few cache lines.
	link    link.Link
	rx      *ring.Consumer // of a link over rings, otherwise nil; see direct
	tx      *ring.Producer
	handler Handler
	batcher BatchHandler // handler, if it is one
	engine  *Engine

	batch   []wire.Vesicle // of the turn under way
	at      int            // the vesicle of batch that is being handled
	empty   int            // turns in a row that found nothing
	want    int            // vesicles to ask for; see expect
	burst   int            // vesicles polled since a poll found nothing
	polled  int            // vesicles polled and not released
	claimed int            // places claimed and neither committed nor aborted
	pause   bool           // the turn ends before the next vesicle
	dirty   bool           // in Engine.dirty
	hot     bool           // in Engine.hot, otherwise in Engine.cold
	armed   bool           // the receiver is armed
	blocked bool           // something is held back; see resume
	gone    bool           // detached, or to be at the end of the cycle
	owes    bool           // owed is to be sent before the next vesicle
	starved bool           // in Engine.starved
	roused  bool           // in Engine.fed; its mutex guards it
	dead    bool           // failed is set

	place [1]wire.Vesicle // what Claim handed out
	held  []wire.Vesicle  // polled, not handled, not released
	owed  debt
	need  int // payload size of the claim that found the link full

	index     int // in Engine.hot or Engine.cold
	id        uint64
	epoch     uint64 // of housekeeping in which it last had work
	holds     int
	fds       []int
	fruitless int
	spaceOn   bool     // the sender is armed for space
	fed       link.Fed // calls the engine, otherwise nil
	failed    error
	vesicles  uint64
	retries   uint64

	value   any
	counter *metrics.Counter
	onGone  func(*Port, error)
	owned   bool
	why     error // for onGone
}

// debt is an answer that the engine itself owes the peer. There is at most
// one a port: while it can't be paid, no further vesicle is handled.
type debt struct {
	header wire.Header // of the request
	status wire.Status
}

// replyHops is how many forwarders a reply may pass. The request's own count
// is what was left of it, which need not be enough for the way back.
const replyHops = 16

func newPort(e *Engine, l link.Link, h Handler) *Port {
	p := &Port{link: l, handler: h, engine: e, want: len(e.in)}
	p.batcher, _ = h.(BatchHandler)
	p.direct()
	return p
}

// ID numbers the ports of one engine from 1 in the order of Add.
func (p *Port) ID() uint64 { return p.id }

// Engine returns the port's engine.
func (p *Port) Engine() *Engine { return p.engine }

// Link returns the port's link. Its sender and receiver belong to the engine;
// use Port's own methods to send.
func (p *Port) Link() link.Link { return p.link }

// Value returns what WithValue or SetValue attached.
func (p *Port) Value() any { return p.value }

// SetValue attaches a value.
func (p *Port) SetValue(v any) { p.value = v }

// Now returns the engine's clock; see [Engine.Now].
func (p *Port) Now() int64 { return p.engine.clock.now }

// Claim reserves a place for a vesicle of up to size payload bytes. The caller
// sets the header, fills or shortens the payload, and calls [Port.Commit] or
// [Port.Abort] before the next Claim. Errors: link.ErrFull (see [Port.Retry]),
// link.ErrTooLarge, link.ErrOrder if a place is open, or that the link is gone.
func (p *Port) Claim(size int) (*wire.Vesicle, error) {
	if p.claimed != 0 {
		return nil, fmt.Errorf("%w: commit or abort the last claim first", link.ErrOrder)
	}
	p.place[0] = wire.Vesicle{}
	if _, err := p.ClaimBatch(p.place[:], size); err != nil {
		return nil, err
	}
	return &p.place[0], nil
}

// Commit sends the place that Claim handed out with the engine's next flush.
func (p *Port) Commit() error { return p.CommitBatch(p.place[:]) }

// ClaimBatch is [link.Sender].Claim: places for up to len(out) vesicles.
func (p *Port) ClaimBatch(out []wire.Vesicle, size int) (n int, err error) {
	if p.gone {
		return 0, link.ErrClosed
	}
	if !p.dirty {
		p.dirty = true
		p.engine.dirty = append(p.engine.dirty, p)
	}
	n, err = p.claimLink(out, size)
	p.claimed += n
	if err != nil {
		p.sendFailed(err, size)
	}
	return n, err
}

// CommitBatch is [link.Sender].Commit for what ClaimBatch handed out.
func (p *Port) CommitBatch(vs []wire.Vesicle) error {
	if p.gone {
		return link.ErrClosed
	}
	if err := p.commitLink(vs); err != nil {
		p.sendFailed(err, 0)
		return err
	}
	p.claimed -= len(vs)
	return nil
}

// Claimed returns how many places are claimed and neither committed nor
// aborted.
func (p *Port) Claimed() int { return p.claimed }

// Abort gives up everything claimed and not committed.
func (p *Port) Abort() {
	if p.claimed != 0 && !p.gone {
		p.link.Abort()
	}
	p.claimed = 0
}

// sendFailed keeps what the engine must know of a refused claim or commit.
func (p *Port) sendFailed(err error, size int) {
	switch {
	case errors.Is(err, link.ErrFull):
		p.need = size
		if !p.starved {
			p.starved = true
			p.engine.starved = append(p.engine.starved, p)
		}
	case errors.Is(err, link.ErrTooLarge), errors.Is(err, link.ErrOrder):
		// The caller's fault; the link is fine.
	default:
		p.broken(err)
	}
}

// broken notes that the link failed. What the peer published before is still
// handled; then the port goes.
func (p *Port) broken(err error) {
	if !p.dead {
		p.dead = true
		p.failed = err
		p.engine.promote(p)
	}
}

// ClaimReply claims a place for the reply to req, its header filled in.
// Errors: ErrNotRequest, and those of Claim.
func (p *Port) ClaimReply(req *wire.Vesicle, size int) (*wire.Vesicle, error) {
	return p.claimAnswer(&req.Header, wire.KindReply, size)
}

func (p *Port) claimAnswer(req *wire.Header, kind wire.Kind, size int) (*wire.Vesicle, error) {
	if req.Kind != wire.KindRequest {
		return nil, fmt.Errorf("%w: kind %d", ErrNotRequest, req.Kind)
	}
	v, err := p.Claim(size)
	if err != nil {
		return nil, err
	}
	v.Header = wire.Header{
		Fingerprint: req.Fingerprint,
		Correlation: req.Correlation,
		Kind:        kind,
		Flags:       wire.Flags(0).WithPriority(req.Flags.Priority()),
		Channel:     req.Channel,
		Hops:        replyHops,
	}
	return v, nil
}

// Reply answers req with a copy of payload. Errors: those of ClaimReply;
// nothing was sent then.
func (p *Port) Reply(req *wire.Vesicle, payload []byte) error {
	v, err := p.ClaimReply(req, len(payload))
	if err != nil {
		return err
	}
	copy(v.Payload, payload)
	return p.Commit()
}

// errorHead is what an error payload has before its message, in bytes.
const errorHead = 8

// ReplyError answers req with a status and a message for people, cut to what
// the link takes. Errors: those of ClaimReply; nothing was sent then.
func (p *Port) ReplyError(req *wire.Vesicle, status wire.Status, message string) error {
	return p.answerError(&req.Header, wire.ErrorPayload{Status: status, Message: message})
}

// ReplyErrorPayload is ReplyError with details for programs. They go whole or,
// where the link doesn't take them beside the message, not at all: a part of
// them may mean something else. payload may be used again afterwards.
func (p *Port) ReplyErrorPayload(req *wire.Vesicle, payload wire.ErrorPayload) error {
	return p.answerError(&req.Header, payload)
}

func (p *Port) answerError(req *wire.Header, payload wire.ErrorPayload) error {
	most := max(0, p.link.Info().MaxPayload-errorHead)
	if len(payload.Message)+len(payload.Details) > most {
		payload.Details = nil
	}
	payload.Message = payload.Message[:min(len(payload.Message), most)]
	v, err := p.claimAnswer(req, wire.KindError, errorHead+len(payload.Message)+len(payload.Details))
	if err != nil {
		return err
	}
	payload.Append(v.Payload[:0])
	return p.Commit()
}

// Retry, called by a handler before it returns, has the engine call it again
// with the same vesicle in a later cycle. It is how a handler acts on
// link.ErrFull without a queue: the vesicle stays in the peer's link, nothing
// behind it is polled, and so the peer in turn finds its link full. The engine
// tries in each cycle, and sleeps, where its strategy does, until a link that
// was full has room. Other ports go on. From a port whose peer is gone a
// vesicle is offered no second time.
func (p *Port) Retry() { p.pause = true }

// Handled, called within HandleBatch, tells that the first n vesicles need no
// answer from the engine if the rest of the call panics.
func (p *Port) Handled(n int) {
	p.at = min(max(n, p.at), len(p.batch))
}

// Hold tells that a call was accepted which will be answered after its handler
// has returned. Drain waits until Unhold was called as often.
func (p *Port) Hold() {
	if !p.gone {
		p.holds++
		p.engine.holds++
	}
}

// Unhold takes one Hold back.
func (p *Port) Unhold() {
	if p.holds > 0 {
		p.holds--
		p.engine.holds--
	}
}

// Flush publishes what is committed now instead of at the end of the cycle.
// Few handlers gain by that. Errors: link.ErrFull (the engine goes on by
// itself), or that the link is gone.
func (p *Port) Flush() error {
	if p.gone {
		return link.ErrClosed
	}
	err := p.flushLink()
	if err != nil && !errors.Is(err, link.ErrFull) {
		p.broken(err)
	}
	return err
}
