package policy

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cell-runtime/cell/rpc"
)

// Hedge says when a unary call that is slow is sent again beside the first:
// the first answer counts, and the other attempts are cancelled. It concerns
// idempotent methods alone. Over a balancer the second attempt usually goes to
// another instance.
//
// The first attempt runs on the caller's goroutine, and nothing but a timer is
// started for it; hedges run on goroutines of their own with copies of the
// messages.
type Hedge struct {
	// After is how long an attempt may take before another is begun, such as
	// the method's 95th percentile; at least 1 µs.
	After time.Duration
	// Most is how many there may be beside the first; default 1, at most 10.
	Most int
	// Budget bounds the hedges of all calls that share it; nil: no bound.
	Budget *Budget
}

const maxHedges = 10

func (h *Hedge) check(where string) error {
	if h.After < time.Microsecond || h.Most < 0 || h.Most > maxHedges {
		return fmt.Errorf("%w: %s.Hedge begins up to %d attempts after %v; 1 to %d, or 0 for 1, after 1 µs or more", ErrOptions, where, h.Most, h.After, maxHedges)
	}
	return nil
}

// race is one call with its attempts.
type race struct {
	hedge  *Hedge
	plan   *plan
	ctx    context.Context // of all attempts
	cancel context.CancelFunc
	send   sending
	done   chan struct{} // gets a token when a hedge has won or the last one failed

	mu    sync.Mutex
	timer *time.Timer
	begun int    // hedges begun
	live  int    // hedges under way
	over  bool   // a winner is known, or the call has returned
	won   []byte // the reply of the hedge that won
	hasIt bool   // a hedge has won
}

// run makes an attempt with hedges.
func (h *Hedge) run(ctx context.Context, p *plan, s *sending) error {
	r := &race{hedge: h, plan: p, send: *s, done: make(chan struct{}, 1)}
	r.ctx, r.cancel = context.WithCancel(ctx)
	defer r.cancel()
	r.mu.Lock()
	r.timer = time.AfterFunc(h.After, r.begin)
	r.mu.Unlock()
	err := p.gated(r.ctx, s)
	return r.settle(err)
}

// settle ends the race when the first attempt has ended with err.
func (r *race) settle(err error) error {
	r.mu.Lock()
	r.timer.Stop()
	if !r.hasIt && judge(err) == healthy { // an answer, be it an error of the application's
		r.over = true
		r.mu.Unlock()
		r.hedge.Budget.deposit()
		return err
	}
	for r.live > 0 && !r.over {
		r.mu.Unlock()
		select {
		case <-r.done:
		case <-r.ctx.Done():
			r.mu.Lock()
			r.over = true
			continue
		}
		r.mu.Lock()
	}
	r.over = true
	won, hasIt := r.won, r.hasIt
	r.mu.Unlock()
	if hasIt {
		return r.send.reply.DecodeCell(won)
	}
	return err
}

// begin begins a hedge, on the timer's goroutine. While it copies the request
// it holds the lock, without which the call does not return.
func (r *race) begin() {
	r.mu.Lock()
	if r.over || !r.hedge.Budget.withdraw() {
		r.mu.Unlock()
		return
	}
	request, err := encode(r.send.req)
	if err != nil { // the first attempt says so
		r.mu.Unlock()
		return
	}
	r.begun++
	r.live++
	if r.begun < max(r.hedge.Most, 1) {
		r.timer.Reset(r.hedge.After)
	}
	r.mu.Unlock()

	s := r.send
	var reply rawReply
	s.req, s.reply = rawRequest(request), &reply
	err = r.plan.gated(r.ctx, &s)
	r.finish(err, reply)
}

// finish notes how a hedge has ended.
func (r *race) finish(err error, reply rawReply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live--
	if r.over {
		return
	}
	if err == nil {
		r.over, r.won, r.hasIt = true, reply, true
		r.cancel() // the first attempt's wait
	}
	if err == nil || r.live == 0 {
		select {
		case r.done <- struct{}{}:
		default:
		}
	}
}

// rawRequest is a request that is encoded already.
type rawRequest []byte

var _ rpc.Encoder = rawRequest(nil)

func (m rawRequest) SizeCell() int                    { return len(m) }
func (m rawRequest) EncodeCell(b []byte) (int, error) { return copy(b, m), nil }

// rawReply keeps a reply's bytes.
type rawReply []byte

func (m *rawReply) DecodeCell(b []byte) error {
	*m = append([]byte(nil), b...)
	return nil
}
