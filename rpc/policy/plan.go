package policy

import (
	"context"
	"time"

	"github.com/cell-runtime/cell/rpc"
)

// plan is what is done about the calls of one method: the client's policies
// and the method's, merged.
type plan struct {
	deadline time.Duration
	watch    *watch
	retry    *Retry
	hedge    *Hedge
	fallback Fallback

	gates       bool // any of the following
	breakers    []*Breaker
	rates       []*Rate
	concurrency []*Concurrency
}

// newPlan merges the policies; nil if there are none. own may be nil.
func newPlan(client, own *Policy) *plan {
	if client.empty() && (own == nil || own.empty()) {
		return nil
	}
	p := &plan{deadline: client.Deadline, retry: client.Retry, hedge: client.Hedge, fallback: client.Fallback}
	p.add(client)
	if own != nil {
		p.override(own)
	}
	p.gates = len(p.breakers)+len(p.rates)+len(p.concurrency) > 0
	if p.deadline > 0 || p.retry != nil && p.retry.AttemptTimeout > 0 {
		p.watch = newWatch()
	}
	return p
}

func (p *plan) override(own *Policy) {
	if own.Deadline > 0 {
		p.deadline = own.Deadline
	}
	if own.Retry != nil {
		p.retry = own.Retry
	}
	if own.Hedge != nil {
		p.hedge = own.Hedge
	}
	if own.Fallback != nil {
		p.fallback = own.Fallback
	}
	p.add(own)
}

func (p *plan) add(from *Policy) {
	if from.Breaker != nil {
		p.breakers = append(p.breakers, from.Breaker)
	}
	if from.Rate != nil {
		p.rates = append(p.rates, from.Rate)
	}
	if from.Concurrency != nil {
		p.concurrency = append(p.concurrency, from.Concurrency)
	}
}

// sending is one way to send a call: of a unary call with a reply, or one-way
// without. It is passed by value so that nothing is allocated for it.
type sending struct {
	next   rpc.Caller
	m      *rpc.Method
	req    rpc.Encoder
	reply  rpc.Decoder
	oneWay bool
}

func (s *sending) send(ctx context.Context) error {
	if s.oneWay {
		return s.next.Send(ctx, s.m, s.req)
	}
	return s.next.Call(ctx, s.m, s.req, s.reply)
}

// run makes a call by the plan.
func (p *plan) run(ctx context.Context, s *sending) error {
	err := p.bounded(ctx, s)
	if err != nil && p.fallback != nil && !s.oneWay && (refused(err) || judge(err) == failing) {
		return p.fallback(ctx, s.m, s.req, s.reply, err)
	}
	return err
}

// bounded makes a call within its deadline.
func (p *plan) bounded(ctx context.Context, s *sending) error {
	if p.deadline == 0 {
		return p.tried(ctx, s)
	}
	ctx, release := p.watch.within(ctx, p.deadline)
	err := p.tried(ctx, s)
	release.end()
	return err
}

// tried makes a call in as many attempts as it may have.
func (p *plan) tried(ctx context.Context, s *sending) error {
	if p.retry == nil {
		return p.hedged(ctx, s)
	}
	for done := 1; ; done++ {
		err := p.attempt(ctx, s)
		if err == nil {
			p.retry.Budget.deposit()
			return nil
		}
		if !p.retry.again(ctx, s.m, done, err) {
			return err
		}
	}
}

// attempt makes one attempt within the time that it may take.
func (p *plan) attempt(ctx context.Context, s *sending) error {
	if p.retry.AttemptTimeout == 0 {
		return p.hedged(ctx, s)
	}
	ctx, release := p.watch.within(ctx, p.retry.AttemptTimeout)
	err := p.hedged(ctx, s)
	release.end()
	return err
}

// hedged makes an attempt, with a second one beside it if it is slow and may
// have one.
func (p *plan) hedged(ctx context.Context, s *sending) error {
	if p.hedge == nil || s.oneWay || !s.m.Idempotent {
		return p.gated(ctx, s)
	}
	return p.hedge.run(ctx, p, s)
}

// gated sends a request if breakers and limits let it pass.
func (p *plan) gated(ctx context.Context, s *sending) error {
	if !p.gates {
		return s.send(ctx)
	}
	pass, err := p.enter(ctx, s.m)
	if err != nil {
		return err
	}
	ended := false
	defer func() {
		if !ended { // a panic of the message's code: the permits come back
			p.leave(pass, neutral)
		}
	}()
	err = s.send(ctx)
	ended = true
	p.leave(pass, judge(err))
	return err
}

// pass is what a request that was let through must give back.
type pass struct {
	probes [maxBreakers]bool // of each breaker: this request finds out how the server is
}

// maxBreakers is how many breakers a call can meet: the client's and its
// method's.
const maxBreakers = 2

// enter asks breakers and limits, in this order so that an open breaker uses
// up nobody's rate.
func (p *plan) enter(ctx context.Context, m *rpc.Method) (given pass, err error) {
	for i, b := range p.breakers {
		if given.probes[i], err = b.enter(m); err != nil {
			p.leaveBreakers(given, i, neutral)
			return given, err
		}
	}
	for _, r := range p.rates {
		if err := r.enter(ctx, m); err != nil {
			p.leaveBreakers(given, len(p.breakers), neutral)
			return given, err
		}
	}
	for i, c := range p.concurrency {
		if err := c.enter(ctx, m); err != nil {
			p.leaveConcurrency(i)
			p.leaveBreakers(given, len(p.breakers), neutral)
			return given, err
		}
	}
	return given, nil
}

// leave gives back what enter took and tells breakers the outcome.
func (p *plan) leave(given pass, v verdict) {
	p.leaveConcurrency(len(p.concurrency))
	p.leaveBreakers(given, len(p.breakers), v)
}

func (p *plan) leaveConcurrency(n int) {
	for _, c := range p.concurrency[:n] {
		c.leave()
	}
}

func (p *plan) leaveBreakers(given pass, n int, v verdict) {
	for i, b := range p.breakers[:n] {
		b.leave(given.probes[i], v)
	}
}
